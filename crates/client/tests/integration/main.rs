//! The clients against a server that misbehaves. Each test runs for the async and for the blocking
//! client.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod leaving;
mod server;
#[macro_use]
mod twins;
mod egress;
mod failures;
mod formats;
mod gather;
mod http2;
#[cfg(feature = "tls")]
mod https;
mod hub;
mod lasting;
mod proxy;
mod reconnects;
mod requests;
mod tokens;
