//! One JSON array whose elements are the items (`application/json`), written and read as it grows.

use serde::Serialize;

use crate::{EncodeError, json};

/// Appends one element to `out`, after the opening bracket or a comma. Each element starts a line.
///
/// # Errors
/// `item` can't be serialised; what was appended until then stays in `out`.
pub fn encode<T: Serialize + ?Sized>(
    first: bool,
    item: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    out.extend_from_slice(if first { b"[\n" } else { b",\n" });
    json::encode_on_one_line(item, out)
}

/// Appends the closing bracket; `empty` says that no element was written.
pub fn encode_end(empty: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if empty { b"[]\n" } else { b"\n]\n" });
}
