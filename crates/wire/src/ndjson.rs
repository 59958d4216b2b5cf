//! Newline-delimited JSON: one value a line (`application/x-ndjson`, `application/jsonl`).

use serde::Serialize;

use crate::{EncodeError, json};

/// Appends `item` and a line feed to `out`.
///
/// # Errors
/// `item` can't be serialised; what was appended until then stays in `out`.
#[inline]
pub fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    json::encode_on_one_line(item, out)?;
    out.push(b'\n');
    Ok(())
}
