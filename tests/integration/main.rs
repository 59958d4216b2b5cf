//! Faults, against a real served application over loopback sockets.
//!
//! Every test is bounded in time, uses ports that the system chooses, and ends the processes that
//! it started.

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

/// An outcome of a test whose steps may fail on the way.
type Outcome = Result<(), Box<dyn std::error::Error>>;
