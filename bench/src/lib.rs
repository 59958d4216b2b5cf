//! What the benchmark's programs share: the item, the order, the clocks, the load generators.
//!
//! The programs: `server` (Headwater, axum and the bare loops, one at a time), `client` (one typed
//! client at a time), `gatherer` (one way to make many calls), `decode` (the decoders in process) and `run`, which starts them, reads from
//! them and writes the tables. Nothing here uses Headwater: the load generators are independent.

pub mod chunked;
pub mod follow;
pub mod http;
pub mod item;
pub mod load;
pub mod order;
pub mod publish;
pub mod requests;
pub mod system;

/// What went wrong, for a person to read.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
