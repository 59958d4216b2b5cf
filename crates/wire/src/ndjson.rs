//! Newline-delimited JSON: one value per line (`application/x-ndjson`, `application/jsonl`).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    DecodeError, EncodeError, Event, Format, Limits, Str,
    error::Kind,
    json,
    lines::{Ends, Lines},
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
    limits: Limits,
    items: u64,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        // A CR can follow a line of the maximum size, and another byte is needed to exceed the
        // limit.
        let max_line = limits.max_item_bytes.saturating_add(2);
        Self {
            lines: Lines::new(Ends::Lf, true, max_line),
            limits,
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

    /// Returns the number of items that were returned.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
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
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        while self.lines.advance() {
            let line = self.lines.line();
            let len = line.len() - usize::from(line.ends_with(b"\r"));
            if len > self.limits.max_item_bytes {
                return self.too_large(self.lines.line_offset());
            }
            let value = json::trim(line);
            if value.is_empty() {
                continue;
            }
            let offset = self.lines.line_offset() + value.start as u64;
            match json::item(self.lines.take(value), self.limits.max_depth) {
                Ok(data) => return Ok(Some(self.give(data))),
                Err((kind, at)) => return self.fail(kind, offset + at as u64),
            }
        }
        let partial = self.lines.partial();
        if partial.len() - usize::from(partial.ends_with(b"\r")) > self.limits.max_item_bytes {
            return self.too_large(self.lines.partial_offset());
        }
        if self.lines.is_finished() && self.lines.end_partial() {
            return self.last_line();
        }
        Ok(None)
    }

    /// Returns the line that is ended by the end of the stream, if it is complete.
    fn last_line(&mut self) -> Result<Option<Event>, DecodeError> {
        let end = self.lines.offset();
        let value = json::trim(self.lines.line());
        if value.is_empty() {
            return Ok(None);
        }
        let offset = self.lines.line_offset() + value.start as u64;
        let bytes = self.lines.take(value);
        match json::check(&bytes, self.limits.max_depth).map(|()| Str::from_utf8(bytes)) {
            Ok(Ok(data)) => Ok(Some(self.give(data))),
            Err(error) if error.is_too_deep() => {
                let kind = Kind::TooDeep {
                    limit: self.limits.max_depth,
                };
                self.fail(kind, offset + error.offset() as u64)
            }
            _ => self.fail(Kind::Truncated, end),
        }
    }

    #[inline]
    fn give(&mut self, data: Str) -> Event {
        self.items += 1;
        Event::new(data)
    }

    #[cold]
    fn too_large(&mut self, line_offset: u64) -> Result<Option<Event>, DecodeError> {
        let limit = self.limits.max_item_bytes;
        self.fail(Kind::TooLarge { limit }, line_offset + limit as u64)
    }

    #[cold]
    fn fail(&mut self, kind: Kind, offset: u64) -> Result<Option<Event>, DecodeError> {
        let error = DecodeError::new(kind, Format::Ndjson, self.items + 1, offset);
        self.failed = Some(error.clone());
        self.lines.close();
        Err(error)
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
pub struct Splitter {
    lines: Lines,
    max_item_bytes: usize,
    number: u64,
    failed: Option<DecodeError>,
}

impl Splitter {
    /// Creates a splitter at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let max_item_bytes = limits.max_item_bytes;
        Self {
            lines: Lines::new(Ends::Lf, true, max_item_bytes.saturating_add(1)),
            max_item_bytes,
            number: 0,
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
    pub fn lines(&self) -> u64 {
        self.number
    }

    /// Returns the number of bytes that were pushed and not returned yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.lines.buffered()
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
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let ended = self.lines.advance();
        let is_item = ended || self.lines.is_finished() && self.lines.end_partial();
        let (len, offset) = match ended {
            true => (self.lines.line().len(), self.lines.line_offset()),
            false => (self.lines.partial().len(), self.lines.partial_offset()),
        };
        if len > self.max_item_bytes {
            let limit = self.max_item_bytes;
            let offset = offset + limit as u64;
            let kind = Kind::TooLarge { limit };
            let error = DecodeError::new(kind, Format::Ndjson, self.number + 1, offset);
            self.failed = Some(error.clone());
            self.lines.close();
            return Err(error);
        }
        if !is_item {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(self.lines.take_with_end(ended)))
    }
}

#[cfg(test)]
mod tests;
