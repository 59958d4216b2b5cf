//! The framework as its users call it: in process if a socket plays no part, otherwise over
//! loopback.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[cfg(feature = "openapi")]
mod app;
#[cfg(all(feature = "auth", feature = "openapi"))]
mod auth;
mod bodies;
mod connections;
mod hosts;
#[cfg(feature = "docs")]
mod layers;
mod panics;
#[cfg(feature = "openapi")]
mod parameters;
mod proxies;
#[cfg(feature = "openapi")]
mod schema;
mod serve;
mod streaming;
#[cfg(feature = "tls")]
mod tls;
