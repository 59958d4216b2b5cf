//! Tokens: one as it is, or a header and claims on two lines, which are then signed. Also key sets and PEM.

use crate::memory::Meter;

/// Checks that only a valid token is accepted, and that an error fits into a header.
///
/// # Panics
/// If that isn't so.
pub fn token(input: &[u8]) {
    let meter = Meter::start();
    headwater_auth::fuzz_token(input);
    meter.check(input.len(), 64 << 10, 512);
}
