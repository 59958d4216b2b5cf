//! JSON that is already encoded: `serde_json`'s `RawValue`, and its `Number` if it keeps the
//! digits.

use memchr::memchr2;
use serde::ser::{Error as _, Serializer};
use serde_json::Error;

use crate::json::separators;

use super::unsupported::{refuse_all_but_scalars, refuse_scalars};

/// Returns `true` if a struct of this name contains JSON text. `Number` does if a crate in the
/// build enables the feature `arbitrary_precision`.
#[inline]
pub(super) fn is_token(name: &str) -> bool {
    name == "$serde_json::private::RawValue" || name == "$serde_json::private::Number"
}

/// A serialiser that writes a string as the JSON that it contains.
pub(super) struct RawWriter<'a>(pub(super) &'a mut Vec<u8>);

impl Serializer for RawWriter<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_str(self, json: &str) -> Result<(), Error> {
        let start = self.0.len();
        self.0.extend_from_slice(json.as_bytes());
        unfold(&mut self.0[start..]);
        separators::escape_from(self.0, start);
        Ok(())
    }

    refuse_scalars! {
        Error::custom("expected RawValue");
        serialize_bool bool, serialize_char char, serialize_f32 f32, serialize_f64 f64,
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128,
    }

    refuse_all_but_scalars!(Error::custom("expected RawValue"));
}

/// Replaces line breaks by spaces. In JSON they occur only between tokens, where all white space is
/// equivalent (RFC 8259 §2).
fn unfold(json: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr2(b'\n', b'\r', &json[from..]) {
        json[from + at] = b' ';
        from += at + 1;
    }
}
