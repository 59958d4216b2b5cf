//! JSON as the formats need it: one value on one line, checked for form and depth (RFC 8259).

use memchr::memchr2;
use serde::Serialize;

use crate::{EncodeError, error::EncodeKind};

/// Appends `item` as JSON without a line break.
///
/// # Errors
/// `item` can't be serialised; what was appended until then stays in `out`.
#[inline]
pub fn encode_on_one_line<T: Serialize + ?Sized>(
    item: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    serde_json::to_writer(&mut *out, item).map_err(|error| EncodeError(EncodeKind::Json(error)))?;
    unfold(&mut out[start..]);
    Ok(())
}

/// Replaces line breaks by spaces. The serialiser writes none, but a `RawValue` may bring its own;
/// in JSON they stand only between tokens, where any white space is as good (RFC 8259 §2).
#[inline]
fn unfold(json: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr2(b'\n', b'\r', &json[from..]) {
        json[from + at] = b' ';
        from += at + 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn a_raw_value_with_line_breaks_is_put_on_one_line() {
        let raw = RawValue::from_string("{\n\"a\":\r\n1}".to_owned()).unwrap();
        let mut out = b"x\n".to_vec();
        encode_on_one_line(&raw, &mut out).unwrap();
        assert_eq!(out, b"x\n{ \"a\":  1}");
    }
}
