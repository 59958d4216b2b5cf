//! JSON as the formats need it: one value on one line, checked for form and depth (RFC 8259).

mod bom;
mod brackets;
mod check;
mod scan;
mod separators;
mod swar;
mod write;

use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;

pub use self::bom::{SkipBom, without_bom};
pub use self::check::{CheckError, check, elements};
pub(crate) use self::scan::Scan;
pub use self::separators::{escape_line_separators, has_line_separators};
use crate::{
    EncodeError, Str,
    error::{EncodeKind, Kind},
};

/// Appends `item` as JSON without a line break: not even one of those that only some readers know (U+0085, U+2028 and
/// U+2029 are escaped).
///
/// # Errors
/// `item` can't be serialised, or has a float that isn't finite, for which JSON has no number; the error names its place. What was appended until then stays in `out`.
#[inline]
pub fn encode_on_one_line<T: Serialize + ?Sized>(
    item: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    write::append(item, out).map_err(|error| EncodeError(EncodeKind::Json(error)))
}

/// The same JSON without line breaks, so that it can be a line of NDJSON and of SSE as it is: not even one of those that
/// only some readers know. The text may differ, its value doesn't.
#[must_use]
pub fn on_one_line(json: Bytes) -> Bytes {
    escape_line_separators(unfolded(json))
}

/// The same JSON, in as many bytes, without CR and LF. In JSON they stand only between tokens, where a space means the same.
#[must_use]
pub fn unfolded(json: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &json).is_none() {
        return json;
    }
    let mut json = Vec::from(json);
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json.into()
}

/// Whether this is JSON's white space (RFC 8259 §2).
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The part of `bytes` without the white space around it.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> Range<usize> {
    let Some(start) = bytes.iter().position(|byte| !is_space(*byte)) else {
        return 0..0;
    };
    let end = bytes
        .iter()
        .rposition(|byte| !is_space(*byte))
        .map_or(start, |last| last + 1);
    start..end
}

/// Takes `bytes` as an item: its encoding and its depth are checked, its grammar is left to the
/// deserialiser.
///
/// # Errors
/// What is wrong, and at which index.
#[inline]
pub(crate) fn item(bytes: Bytes, max_depth: usize) -> Result<Str, (Kind, usize)> {
    if let Some(at) = scan::too_deep(&bytes, max_depth) {
        return Err((Kind::TooDeep { limit: max_depth }, at));
    }
    Str::from_utf8(bytes).map_err(|error| (Kind::Utf8, error.valid_up_to()))
}

impl CheckError {
    /// The same as the fault of an item, and at which index.
    pub(crate) fn into_fault(self, limit: usize) -> (Kind, usize) {
        let kind = match self.expected() {
            Some(_) if self.is_end() => Kind::Truncated,
            Some(expected) => Kind::Syntax(expected),
            None if self.is_too_deep() => Kind::TooDeep { limit },
            None => Kind::Utf8,
        };
        (kind, self.offset())
    }
}

#[cfg(test)]
mod tests;
