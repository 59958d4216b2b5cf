//! Newline-delimited JSON: one value per line (`application/x-ndjson`, `application/jsonl`).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    DecodeError, EncodeError, Event, Format, Limits, Str,
    error::Kind,
    input::input_methods,
    json,
    lines::{End, Ends, Lines},
};

/// Appends `item` and a line feed to `out`.
///
/// # Errors
///
/// If `item` can't be serialised. The bytes that were appended before the error stay in `out`.
#[inline]
pub fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    json::encode_on_one_line(item, out)?;
    out.push(b'\n');
    Ok(())
}

/// A decoder of NDJSON.
///
/// Blank lines are skipped. White space around a value, a CR before the LF and a byte order mark at
/// the start are ignored. A last line without its LF counts only if it is a complete JSON text.
///
/// The decoder checks the encoding and the depth of each value. The deserialiser of a value checks
/// its grammar. [`Limits::max_item_bytes`] bounds a line without its end.
#[derive(Debug)]
pub struct Decoder {
    lines: Lines,
    max_depth: usize,
}

impl Decoder {
    input_methods!(lines);

    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            lines: Lines::new(Format::Ndjson, Ends::CrLf, true, limits.max_item_bytes),
            max_depth: limits.max_depth,
        }
    }

    /// Returns the next item. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more items.
    ///
    /// # Errors
    ///
    /// If the item is too large, too deep, not UTF-8 or, at the end of the stream, not complete.
    /// Later calls return the same error.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        while let Some(end) = self.lines.next_item()? {
            let value = json::trim(self.lines.line());
            if value.is_empty() {
                continue;
            }
            let offset = self.lines.line_offset() + value.start as u64;
            let bytes = self.lines.take(value);
            let item = match end {
                End::Lf => json::item(bytes, self.max_depth),
                End::Stream => last_item(bytes, self.max_depth),
            };
            return match item {
                Ok(data) => {
                    self.lines.count();
                    Ok(Some(Event::new(data)))
                }
                Err((Kind::Truncated, _)) => {
                    Err(self.lines.fail(Kind::Truncated, self.lines.offset()))
                }
                Err((kind, at)) => Err(self.lines.fail(kind, offset + at as u64)),
            };
        }
        Ok(None)
    }
}

/// Returns the item of a line that the end of the stream ends, if it is complete.
fn last_item(bytes: Bytes, max_depth: usize) -> Result<Str, (Kind, usize)> {
    match json::check(&bytes, max_depth) {
        // `check` succeeded, so the text is UTF-8.
        Ok(()) => Ok(Str::from_utf8_lossy(bytes)),
        Err(error) if error.is_too_deep() => Err(error.into_fault(max_depth)),
        Err(_) => Err((Kind::Truncated, 0)),
    }
}

/// A splitter of NDJSON into its lines, with the bytes unchanged.
///
/// It is for programs that pass lines on, or have their own rules for a line. A line has the LF that
/// ends it; the last one may have none. Blank lines are lines. Only a byte order mark at the start is
/// removed. [`Limits::max_item_bytes`] bounds a line without its LF.
///
/// ```
/// use headwater_wire::{Limits, ndjson::Splitter};
///
/// let mut splitter = Splitter::new(Limits::default());
/// splitter.push("{}\r\n\n[1".into());
/// assert_eq!(splitter.next()?.expect("it is complete"), "{}\r\n");
/// assert_eq!(splitter.next()?.expect("it is complete"), "\n");
/// assert!(splitter.next()?.is_none());
/// splitter.finish();
/// assert_eq!(splitter.next()?.expect("it is the rest"), "[1");
/// # Ok::<(), headwater_wire::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Splitter(Lines);

impl Splitter {
    input_methods!(0);

    /// Creates a splitter at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Lines::new(
            Format::Ndjson,
            Ends::Lf,
            true,
            limits.max_item_bytes,
        ))
    }

    /// Returns the number of bytes that were pushed and not returned yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// Returns the next line. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more lines.
    ///
    /// # Errors
    ///
    /// If the line is too large; [`item`](DecodeError::item) is its number. Later calls return the
    /// same error.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    pub fn next(&mut self) -> Result<Option<Bytes>, DecodeError> {
        let Some(end) = self.0.next_item()? else {
            return Ok(None);
        };
        self.0.count();
        Ok(Some(self.0.take_with_end(end)))
    }
}

#[cfg(test)]
mod tests;
