//! The framework as its users call it: in process where a socket plays no part, over loopback where it does.

mod serve;
mod streaming;
