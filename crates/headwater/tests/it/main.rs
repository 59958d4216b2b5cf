//! The framework as its users call it: in process if a socket plays no part, otherwise over
//! loopback.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod app;
mod bodies;
mod connections;
mod hosts;
mod panics;
mod schema;
mod serve;
mod streaming;
