//! Plain text (`text/plain`), for people: one item per line, or chunks as they arrive.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    DecodeError, EncodeError, Event, Format, Limits, Str,
    error::Kind,
    input::Input,
    json,
    lines::{Ends, Lines},
};

/// Appends `item` and a line feed to `out`. A string is written unquoted, anything else as JSON on
/// one line.
///
/// # Errors
///
/// If `item` can't be serialised. The bytes that were appended before the error stay in `out`.
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

/// A decoder of text by lines. An item is a line, without the LF or CRLF that ends it.
///
/// The end of the stream ends a last line that isn't empty. [`Limits::max_item_bytes`] bounds a
/// line without its end.
#[derive(Debug)]
pub struct LineDecoder {
    lines: Lines,
    max_item_bytes: usize,
    items: u64,
    failed: Option<DecodeError>,
}

impl LineDecoder {
    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // A CR can follow a line of the maximum size, and another byte is needed to exceed the
        // limit.
        let max_line = limits.max_item_bytes.saturating_add(2);
        Self {
            lines: Lines::new(Ends::Lf, false, max_line),
            max_item_bytes: limits.max_item_bytes,
            items: 0,
            failed: None,
        }
    }

    /// Adds the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, chunk: Bytes) {
        self.lines.push(chunk);
    }

    /// Marks the end of the stream. Chunks that are pushed later are ignored.
    pub fn finish(&mut self) {
        self.lines.finish();
    }

    /// Returns the number of lines that were returned.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Returns the next line. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more lines.
    ///
    /// # Errors
    ///
    /// If the line is too large, isn't UTF-8 or, at the end of the stream, stops inside a
    /// character. Later calls return the same error.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.lines.advance() {
            return self.line(false).map(Some);
        }
        let offset = self.lines.partial_offset();
        self.check_size(without_cr(self.lines.partial()), offset)?;
        if self.lines.is_finished() && self.lines.end_partial() {
            return self.line(true).map(Some);
        }
        Ok(None)
    }

    #[inline]
    fn line(&mut self, last: bool) -> Result<Event, DecodeError> {
        let offset = self.lines.line_offset();
        let len = without_cr(self.lines.line());
        self.check_size(len, offset)?;
        match Str::from_utf8(self.lines.take(0..len)) {
            Ok(data) => {
                self.items += 1;
                Ok(Event::new(data))
            }
            Err(error) => {
                let cut = last && error.error_len().is_none();
                let kind = if cut { Kind::Truncated } else { Kind::Utf8 };
                Err(self.fail(kind, offset + error.valid_up_to() as u64))
            }
        }
    }

    #[inline]
    fn check_size(&mut self, len: usize, offset: u64) -> Result<(), DecodeError> {
        let limit = self.max_item_bytes;
        if len <= limit {
            return Ok(());
        }
        Err(self.fail(Kind::TooLarge { limit }, offset + limit as u64))
    }

    #[cold]
    fn fail(&mut self, kind: Kind, offset: u64) -> DecodeError {
        let error = DecodeError::new(kind, Format::Text, self.items + 1, offset);
        self.failed = Some(error.clone());
        self.lines.close();
        error
    }
}

/// Returns the length of a line without the CR before its LF.
#[inline]
fn without_cr(line: &[u8]) -> usize {
    line.len() - usize::from(line.ends_with(b"\r"))
}

/// A decoder of text by chunks, as they arrive. A character that is split between two chunks is
/// returned whole, with the second one.
///
/// A chunk of more than [`Limits::max_item_bytes`] (at least 4) is returned in pieces of that size.
#[derive(Debug)]
pub struct ChunkDecoder {
    input: Input,
    max_item_bytes: usize,
    /// The start of a character that is cut by the end of a chunk.
    carry: Vec<u8>,
    items: u64,
    failed: Option<DecodeError>,
}

impl ChunkDecoder {
    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            input: Input::default(),
            max_item_bytes: limits.max_item_bytes.max(4),
            carry: Vec::new(),
            items: 0,
            failed: None,
        }
    }

    /// Adds the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, chunk: Bytes) {
        self.input.push(chunk);
    }

    /// Marks the end of the stream. Chunks that are pushed later are ignored.
    pub fn finish(&mut self) {
        self.input.finish();
    }

    /// Returns the number of pieces that were returned.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Returns the next piece of text, never empty. `None` means that more input is needed or,
    /// after [`finish`](Self::finish), that there is no more text.
    ///
    /// # Errors
    ///
    /// If the text isn't UTF-8 or, at the end of the stream, stops inside a character. All text
    /// before that place was returned. Later calls return the same error.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        loop {
            if self.input.is_empty() && !self.input.refill() {
                if self.input.is_finished() && !self.carry.is_empty() {
                    return self.fail(Kind::Truncated);
                }
                return Ok(None);
            }
            if let Some(text) = self.piece() {
                self.items += 1;
                return Ok(Some(Event::new(text)));
            }
            if !self.input.is_empty() {
                return self.fail(Kind::Utf8);
            }
        }
    }

    /// Takes as much text as possible. After `None`, the rest of the chunk isn't UTF-8.
    fn piece(&mut self) -> Option<Str> {
        let at = self.input.at();
        let carried = self.carry.len();
        let rest = self.input.rest();
        let window = rest.len().min(self.max_item_bytes - carried);
        let bytes = if carried == 0 {
            self.input.chunk().slice(at..at + window)
        } else {
            [&self.carry, &rest[..window]].concat().into()
        };
        let (text, checked) = Str::valid_prefix(&bytes);
        if !text.is_empty() {
            self.carry.clear();
            self.input.read_to(at + text.len() - carried);
            return Some(text);
        }
        if checked.is_err_and(|error| error.error_len().is_none()) {
            self.carry = bytes.into();
            self.input.read_to(at + window);
        }
        None
    }

    #[cold]
    fn fail(&mut self, kind: Kind) -> Result<Option<Event>, DecodeError> {
        let offset = self.input.offset() - self.carry.len() as u64;
        let error = DecodeError::new(kind, Format::Text, self.items + 1, offset);
        self.failed = Some(error.clone());
        self.input.close();
        Err(error)
    }
}

#[cfg(test)]
mod tests;
