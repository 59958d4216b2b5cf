//! Fault tests against servers on loopback sockets, and one of the document that names the modules.
//!
//! Every test is bounded in time, uses ports that the system selects, and ends the processes that
//! it started.

mod architecture;
mod child;
mod compression;
mod disconnects;
mod dribble;
mod errors;
mod heavy;
mod http2;
mod hub_killed;
mod killed;
mod raw;
mod served;
mod sizes;
mod unix_socket;
mod utf8;

/// The result of a test whose steps can fail.
type Outcome = Result<(), Box<dyn std::error::Error>>;
