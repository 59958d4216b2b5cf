//! Plain text (`text/plain`), for people: one item a line, or chunks as they come.

use bytes::Bytes;
use serde::Serialize;

use crate::{
    DecodeError, EncodeError, Event, Format, Limits, Str,
    error::Kind,
    input::Input,
    json,
    lines::{Ends, Lines},
};

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

/// Reads text line by line: an item is a line, without the LF or CRLF that ends it.
///
/// The end of the stream ends the last line, if there is something in it.
/// [`Limits::max_item_bytes`] bounds a line without its end.
#[derive(Debug)]
pub struct LineDecoder {
    lines: Lines,
    max_item_bytes: usize,
    items: u64,
    failed: Option<DecodeError>,
}

impl LineDecoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // Behind a line of the largest size a CR may stand, and it takes another byte to be sure.
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

    /// Says that no more bytes will come; what is pushed after this is ignored.
    pub fn finish(&mut self) {
        self.lines.finish();
    }

    /// How many lines it has given.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// The next line. `None`: more input is needed or, after [`finish`](Self::finish), this was
    /// all.
    ///
    /// # Errors
    /// The line is too large, is not UTF-8 or, at the end of the stream, stops inside a character.
    /// Every later call says the same.
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

/// The length of a line without the CR before its LF.
#[inline]
fn without_cr(line: &[u8]) -> usize {
    line.len() - usize::from(line.ends_with(b"\r"))
}

/// Reads text in chunks as they come, but for a character that two chunks share: it comes whole,
/// with the second one.
///
/// A chunk of more than [`Limits::max_item_bytes`] (at least 4) comes in pieces of that size.
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
    /// A decoder at the start of a stream.
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

    /// Says that no more bytes will come; what is pushed after this is ignored.
    pub fn finish(&mut self) {
        self.input.finish();
    }

    /// How many pieces it has given.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// The next piece of text, never empty. `None`: more input is needed or, after
    /// [`finish`](Self::finish), this was all.
    ///
    /// # Errors
    /// The text is not UTF-8 (all of it before that place was given) or, at the end of the stream,
    /// stops inside a character. Every later call says the same.
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

    /// Takes as much text as there is, if there is any. What is left of the chunk after `None` is
    /// not UTF-8.
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
