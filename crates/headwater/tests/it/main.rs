//! The framework as its users call it: in process where a socket plays no part, over loopback where it does.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod app;
mod bodies;
mod connections;
mod hosts;
mod panics;
mod schema;
mod serve;
mod streaming;
