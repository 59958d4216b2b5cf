//! JSON text sequences, RFC 7464 (`application/json-seq`).

use serde::Serialize;

use crate::{EncodeError, json};

/// The record separator that starts every JSON text (RFC 7464 §2.2).
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// Appends a record separator, `item` and a line feed to `out` (RFC 7464 §2.2).
///
/// # Errors
/// `item` can't be serialised; what was appended until then stays in `out`.
pub fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.push(RECORD_SEPARATOR);
    json::encode_on_one_line(item, out)?;
    out.push(b'\n');
    Ok(())
}
