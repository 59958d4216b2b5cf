//! The names of HTTP statuses.

/// Returns the reason phrase of a status whose name RFC 9110 has changed (§15.5.14, §15.5.21), and which
/// the crate `http` calls by its earlier name.
#[must_use]
pub fn renamed(code: u16) -> Option<&'static str> {
    match code {
        413 => Some("Content Too Large"),
        422 => Some("Unprocessable Content"),
        _ => None,
    }
}
