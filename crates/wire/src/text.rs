//! Plain text (`text/plain`), for people: one item a line, or chunks as they come.

use serde::Serialize;

use crate::{EncodeError, json};

/// Appends `item` and a line feed to `out`: a string as it is, anything else as JSON on one line.
///
/// # Errors
/// `item` can't be serialised; what was appended until then stays in `out`.
pub fn encode_line<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    json::encode_on_one_line(item, out)?;
    if out.get(start) == Some(&b'"')
        && let Ok(text) = serde_json::from_slice::<String>(&out[start..])
    {
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'\n');
    Ok(())
}
