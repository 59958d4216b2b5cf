//! JSON for the streaming formats: one value on one line, checked for grammar and depth (RFC 8259).

mod bom;
mod brackets;
mod check;
mod document;
mod scan;
mod separators;
mod swar;
mod write;

use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;

pub use self::bom::{SkipBom, without_bom};
pub use self::check::{CheckError, check, elements};
pub use self::document::{Document, DocumentError};
pub(crate) use self::scan::Scan;
pub use self::separators::{escape_line_separators, has_line_separators};
use crate::{
    EncodeError, Str,
    error::{EncodeKind, Kind},
};

/// Appends `item` as JSON without any line break, including those that only some readers recognise
/// (U+0085, U+2028 and U+2029 are escaped).
///
/// # Errors
///
/// If `item` can't be serialised, or contains a float that isn't finite, for which JSON has no
/// number. The error then contains its location. The bytes that were appended before the error stay
/// in `out`.
#[inline]
pub fn encode_on_one_line<T: Serialize + ?Sized>(
    item: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    write::append(item, out).map_err(|error| EncodeError(EncodeKind::Json(error)))
}

/// Returns the message of an error without the line and the column, for a text whose place the
/// reader knows otherwise.
#[must_use]
pub fn message_of(error: &serde_json::Error) -> String {
    let mut message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    if message.ends_with(&place) {
        message.truncate(message.len() - place.len());
    }
    message
}

/// Returns the same JSON value as text without any line break, including those that only some
/// readers recognise. The result can be used unchanged as a line of NDJSON or of SSE.
#[must_use]
pub fn on_one_line(json: Bytes) -> Bytes {
    escape_line_separators(unfolded(json))
}

/// Returns the same JSON with CR and LF replaced by spaces. In JSON both occur only between tokens,
/// as white space.
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

/// Returns `true` if the byte is JSON white space (RFC 8259 §2).
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Returns the range of `bytes` without the white space around it.
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

/// Converts `bytes` into an item. Checks the encoding and the depth; the deserialiser checks the
/// grammar.
///
/// # Errors
///
/// The fault and its index.
#[inline]
pub(crate) fn item(bytes: Bytes, max_depth: usize) -> Result<Str, (Kind, usize)> {
    if let Some(at) = scan::too_deep(&bytes, max_depth) {
        return Err((Kind::TooDeep { limit: max_depth }, at));
    }
    Str::from_utf8(bytes).map_err(|error| (Kind::Utf8, error.valid_up_to()))
}

impl CheckError {
    /// Converts the error into the fault of an item, with its index.
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
