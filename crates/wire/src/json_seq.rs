//! JSON text sequences, RFC 7464 (`application/json-seq`).

use memchr::{memchr, memchr2};
use serde::Serialize;

use crate::{
    DecodeError, EncodeError, Event, Format, Limits, Str,
    error::Kind,
    input::{Input, input_methods},
    json::{self, Scan},
    lines::take_carry,
    work_counter,
};

/// The record separator that starts every JSON text (RFC 7464 §2.2).
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// Appends a record separator, `item` and a line feed to `out` (RFC 7464 §2.2).
///
/// # Errors
///
/// If `item` can't be serialised. The bytes that were appended before the error stay in `out`.
pub fn encode<T: Serialize + ?Sized>(item: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.push(RECORD_SEPARATOR);
    json::encode_on_one_line(item, out)?;
    out.push(b'\n');
    Ok(())
}

/// A decoder of a JSON text sequence.
///
/// A malformed element is reported with its number, and the next call continues with the next
/// element (RFC 7464 §2.3). An element is truncated if the next record separator or the end of the
/// stream comes before it is complete, or directly after a top-level number, `true`, `false` or
/// `null` (§2.4).
///
/// A complete element is returned at its line feed, without waiting for the next one. Anything
/// between it and the next record separator is a separate error.
///
/// [`Limits::max_item_bytes`] bounds the bytes between a record separator and the line feed.
/// [`items`](Self::items) doesn't count malformed elements.
#[derive(Debug)]
pub struct Decoder {
    input: Input,
    limits: Limits,
    state: State,
    /// The start of an element that is cut by the end of a chunk.
    carry: Vec<u8>,
    /// The position in the chunk from which on the element isn't copied.
    start: usize,
    /// Number of bytes of the stream before the element.
    element_offset: u64,
    /// The number of the last element that came to its end, malformed or not.
    element: u64,
}

#[derive(Debug)]
enum State {
    /// Only white space may come before the next record separator.
    Between,
    /// After an error: everything up to the next record separator is skipped.
    Skip,
    /// In an element without a line feed so far.
    Line,
    /// In an element that spans many lines.
    Lines(Shape),
}

/// The state of an element of many lines, by which it is checked in full only once, at the first
/// line feed at which it can be complete.
#[derive(Debug)]
enum Shape {
    Blank,
    Open(Scan),
    Closed,
}

impl Decoder {
    input_methods!(input);

    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            input: Input::new(Format::JsonSeq),
            limits,
            state: State::Between,
            carry: Vec::new(),
            start: 0,
            element_offset: 0,
            element: 0,
        }
    }

    /// Returns the next item. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more items.
    ///
    /// # Errors
    ///
    /// If an element isn't one JSON text, is truncated, too large or too deep. The number in the
    /// error counts all elements, including malformed ones. The next call continues after it.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        loop {
            if self.input.is_empty() && !self.refill() {
                return if self.input.is_finished() {
                    self.end()
                } else {
                    Ok(None)
                };
            }
            match self.state {
                State::Between | State::Skip => self.between()?,
                State::Line | State::Lines(_) => {
                    if let Some(event) = self.element()? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn refill(&mut self) -> bool {
        if matches!(self.state, State::Line | State::Lines(_)) {
            self.carry
                .extend_from_slice(&self.input.chunk()[self.start..]);
        }
        work_counter::count(self.input.chunk().len() - self.start);
        self.start = 0;
        self.input.refill()
    }

    /// Searches for the next record separator.
    fn between(&mut self) -> Result<(), DecodeError> {
        let rest = self.input.rest();
        let found = match self.state {
            State::Skip => memchr(RECORD_SEPARATOR, rest),
            _ => rest.iter().position(|byte| !json::is_space(*byte)),
        };
        let Some(len) = found else {
            self.input.read_to(self.input.chunk().len());
            return Ok(());
        };
        let at = self.input.at() + len;
        if rest[len] != RECORD_SEPARATOR {
            self.input.read_to(at);
            self.state = State::Skip;
            let kind = Kind::Syntax("expected a record separator");
            return Err(self.error(kind, self.element.max(1), self.input.offset()));
        }
        self.input.read_to(at + 1);
        self.begin();
        Ok(())
    }

    /// Starts an element after a record separator.
    fn begin(&mut self) {
        self.carry.clear();
        self.start = self.input.at();
        self.element_offset = self.input.offset();
        self.state = State::Line;
    }

    /// Continues in an element, up to the next line feed, record separator or end of a chunk.
    fn element(&mut self) -> Result<Option<Event>, DecodeError> {
        let at = self.input.at();
        let rest = self.input.rest();
        let found = memchr2(b'\n', RECORD_SEPARATOR, rest);
        let len = found.unwrap_or(rest.len());
        work_counter::count(len);
        let line_feed = found.is_some_and(|len| rest[len] == b'\n');

        let limit = self.limits.max_item_bytes;
        let before = self.carry.len() + at - self.start;
        let fits = len.min(limit.saturating_sub(before));
        if let State::Lines(shape) = &mut self.state
            && let Err((kind, index)) = shape.piece(&rest[..fits], self.limits.max_depth)
        {
            return self.broken(kind, (before + index) as u64);
        }
        if fits < len || (line_feed && before > limit) {
            return self.broken(Kind::TooLarge { limit }, limit as u64);
        }
        self.input.read_to(at + len);
        if line_feed {
            self.line_feed()
        } else if found.is_some() {
            self.separator()
        } else {
            Ok(None)
        }
    }

    /// Returns the element if it is complete at this line feed.
    fn line_feed(&mut self) -> Result<Option<Event>, DecodeError> {
        let end = self.input.at();
        let max_depth = self.limits.max_depth;
        let text = text(&mut self.carry, &mut self.start, &self.input, end);
        let checked = match &mut self.state {
            State::Lines(Shape::Closed) => json::check(text, max_depth),
            State::Lines(_) => {
                self.input.read_to(end + 1);
                return Ok(None);
            }
            _ => match json::check(text, max_depth) {
                Err(error) if error.is_end() => {
                    let mut shape = Shape::Blank;
                    // The check has found no fault, so this can't find one.
                    let scanned = shape.piece(text, max_depth);
                    debug_assert!(scanned.is_ok());
                    self.state = State::Lines(shape);
                    self.input.read_to(end + 1);
                    return Ok(None);
                }
                checked => checked,
            },
        };
        match checked {
            Ok(()) => {
                let event = self.give();
                self.input.read_to(end + 1);
                Ok(event)
            }
            Err(error) => {
                let (kind, index) = error.into_fault(max_depth);
                self.broken(kind, index as u64)
            }
        }
    }

    /// Returns the element if it is complete at this record separator or at the end of the stream.
    fn separator(&mut self) -> Result<Option<Event>, DecodeError> {
        let end = self.input.at();
        let max_depth = self.limits.max_depth;
        let text = text(&mut self.carry, &mut self.start, &self.input, end);
        if text.is_empty() && !self.input.is_empty() {
            // "Multiple consecutive RS octets do not denote empty sequence elements between them"
            // (§2.1).
            self.state = State::Between;
            return Ok(None);
        }
        // A truncation of "JSON-text sequence elements consisting of [a number or a literal]" can't
        // be detected if no white space follows them (§2.4).
        let delimited = match text.last() {
            Some(b'"' | b']' | b'}') => true,
            Some(byte) => json::is_space(*byte),
            None => false,
        };
        let len = text.len();
        match json::check(text, max_depth) {
            Ok(()) if delimited => Ok(self.give()),
            Ok(()) => self.broken(Kind::Truncated, len as u64),
            Err(error) => {
                let (kind, index) = error.into_fault(max_depth);
                self.broken(kind, index as u64)
            }
        }
    }

    fn end(&mut self) -> Result<Option<Event>, DecodeError> {
        match self.state {
            State::Between | State::Skip => Ok(None),
            State::Line | State::Lines(_) => self.separator(),
        }
    }

    /// Returns the element, which has been checked and ends at the read position.
    fn give(&mut self) -> Option<Event> {
        self.state = State::Between;
        self.element += 1;
        let bytes = if self.carry.is_empty() {
            let value = json::trim(&self.input.chunk()[self.start..self.input.at()]);
            self.input
                .chunk()
                .slice(self.start + value.start..self.start + value.end)
        } else {
            let value = json::trim(&self.carry);
            take_carry(&mut self.carry, value)
        };
        self.carry.clear();
        self.input.count();
        Some(Event::new(Str::from_utf8_lossy(bytes)))
    }

    /// Reports the element as malformed at this index in it, and continues with the next one.
    #[cold]
    fn broken(&mut self, kind: Kind, index: u64) -> Result<Option<Event>, DecodeError> {
        self.state = State::Skip;
        self.carry.clear();
        self.element += 1;
        Err(self.error(kind, self.element, self.element_offset + index))
    }

    fn error(&self, kind: Kind, element: u64, offset: u64) -> DecodeError {
        DecodeError::new(kind, Format::JsonSeq, element, offset)
    }
}

/// Returns the element up to the position `end`, as one slice.
fn text<'a>(carry: &'a mut Vec<u8>, start: &mut usize, input: &'a Input, end: usize) -> &'a [u8] {
    let piece = &input.chunk()[*start..end];
    if carry.is_empty() {
        return piece;
    }
    carry.extend_from_slice(piece);
    *start = end;
    carry
}

impl Shape {
    fn piece(&mut self, bytes: &[u8], max_depth: usize) -> Result<(), (Kind, usize)> {
        let mut at = 0;
        if let Self::Blank = self {
            match bytes.iter().position(|byte| !json::is_space(*byte)) {
                None => return Ok(()),
                Some(first) => {
                    at = first;
                    *self = match bytes[first] {
                        b'[' | b'{' | b'"' => Self::Open(Scan::default()),
                        _ => Self::Closed,
                    };
                }
            }
        }
        if let Self::Open(scan) = self {
            let end = scan.piece(&bytes[at..], max_depth);
            if end.map_err(|(kind, index)| (kind, at + index))?.is_some() {
                *self = Self::Closed;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
