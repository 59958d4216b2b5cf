//! Plain text (`text/plain`), for people: one item per line, or chunks as they arrive.

use serde::Serialize;

use crate::{
    DecodeError, EncodeError, Event, Format, Limits, Str,
    error::Kind,
    input::{Input, input_methods},
    json,
    lines::{End, Ends, Lines},
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
pub struct LineDecoder(Lines);

impl LineDecoder {
    input_methods!(0);

    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Lines::new(
            Format::Text,
            Ends::CrLf,
            false,
            limits.max_item_bytes,
        ))
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
        let Some(end) = self.0.next_item()? else {
            return Ok(None);
        };
        let offset = self.0.line_offset();
        let len = self.0.size(self.0.line());
        match Str::from_utf8(self.0.take(0..len)) {
            Ok(data) => {
                self.0.count();
                Ok(Some(Event::new(data)))
            }
            Err(error) => {
                let cut = end == End::Stream && error.error_len().is_none();
                let kind = if cut { Kind::Truncated } else { Kind::Utf8 };
                Err(self.0.fail(kind, offset + error.valid_up_to() as u64))
            }
        }
    }
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
}

impl ChunkDecoder {
    input_methods!(input);

    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            input: Input::new(Format::Text),
            max_item_bytes: limits.max_item_bytes.max(4),
            carry: Vec::new(),
        }
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
        self.input.check()?;
        loop {
            if self.input.is_empty() && !self.input.refill() {
                if self.input.is_finished() && !self.carry.is_empty() {
                    return Err(self.fail(Kind::Truncated));
                }
                return Ok(None);
            }
            if let Some(text) = self.piece() {
                self.input.count();
                return Ok(Some(Event::new(text)));
            }
            if !self.input.is_empty() {
                return Err(self.fail(Kind::Utf8));
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
    fn fail(&mut self, kind: Kind) -> DecodeError {
        let offset = self.input.offset() - self.carry.len() as u64;
        self.input.fail(kind, offset)
    }
}

#[cfg(test)]
mod tests;
