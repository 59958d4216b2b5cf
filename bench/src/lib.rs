//! Code shared by the benchmark's programs: the item, the order, the clocks and the load
//! generators.
//!
//! The programs are `server` (Headwater, axum and the bare loops, one at a time), `client` (one
//! typed client at a time), `gatherer` (one implementation of many calls), `decode` (the decoders
//! in process) and `run`, which starts them, reads from them and writes the tables. This library
//! doesn't use Headwater: the load generators are independent of it.

pub mod chunked;
pub mod follow;
pub mod http;
pub mod item;
pub mod load;
pub mod order;
pub mod publish;
pub mod requests;
pub mod system;
pub mod tls;

/// A human-readable error.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
