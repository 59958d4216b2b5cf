//! Relay: one call to an upstream, its answer a durable stream that anyone may follow.

#[allow(
    dead_code,
    unused_imports,
    reason = "the endpoints that use it are not in yet"
)]
pub(crate) mod upstream;
