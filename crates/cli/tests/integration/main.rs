//! The real binary: against a server that writes exactly the bytes that a test specifies, and as a
//! hub and its clients.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod access;
mod check;
mod ending;
mod gather;
mod help;
mod hub;
mod output;
mod printing;
#[allow(dead_code, reason = "the tests of headwater-client use more of it")]
#[path = "../../../client/tests/integration/proxy.rs"]
mod proxy;
#[cfg(feature = "relay")]
mod relay;
mod running;
mod sending;
#[allow(dead_code, reason = "the tests of headwater-client use more of it")]
#[path = "../../../client/tests/integration/server.rs"]
mod server;
mod serving;
mod tokens;
#[cfg(all(feature = "gather", feature = "relay"))]
mod upstream_logs;
