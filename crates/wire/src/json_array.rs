//! One JSON array whose elements are the items (`application/json`), written and read
//! incrementally.

use serde::Serialize;

use crate::{
    DecodeError, EncodeError, Event, Format, Limits, Str,
    error::Kind,
    input::{BOM, Input, input_methods},
    json::{self, Scan},
    lines::take_carry,
    work_counter,
};

/// Appends one element to `out`, after the opening bracket or a comma and before a line feed.
///
/// The line feed comes after the element, not before the next one. It shows a reader that a number
/// is complete before the next element arrives.
///
/// # Errors
///
/// If `item` can't be serialised. The bytes that were appended before the error stay in `out`.
pub fn encode<T: Serialize + ?Sized>(
    first: bool,
    item: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    out.push(if first { b'[' } else { b',' });
    json::encode_on_one_line(item, out)?;
    out.push(b'\n');
    Ok(())
}

/// Appends the closing bracket. `empty` is `true` if no element was written.
pub fn encode_end(empty: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if empty { b"[]\n" } else { b"]\n" });
}

/// A decoder of one JSON array that returns its elements as they arrive.
///
/// It checks the brackets and commas of the array, and the encoding, depth and matching brackets of
/// each element. The deserialiser of an element checks the rest of its grammar.
/// [`Limits::max_item_bytes`] bounds an element without the white space around it. An array without
/// its `]` at the end of the stream is an error. A byte order mark at the start is ignored.
#[derive(Debug)]
pub struct Decoder {
    input: Input,
    limits: Limits,
    state: State,
    /// The start of an element that is cut by the end of a chunk.
    carry: Vec<u8>,
    /// Number of bytes of the stream before the element.
    element_offset: u64,
}

#[derive(Debug)]
enum State {
    /// Nothing was read yet but `bom` bytes of a byte order mark.
    Start { bom: usize },
    /// The array is open: an element or its end.
    First,
    /// After a comma: an element.
    Element,
    /// In an array, an object or a string.
    Bracketed(Scan),
    /// In a number or a literal.
    Plain,
    /// After an element: a comma or the end of the array.
    Comma,
    /// After the array.
    End,
}

impl Decoder {
    input_methods!(input);

    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            input: Input::new(Format::JsonArray),
            limits,
            state: State::Start { bom: 0 },
            carry: Vec::new(),
            element_offset: 0,
        }
    }

    /// Returns the next element. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more elements.
    ///
    /// # Errors
    ///
    /// If the stream isn't an array, isn't complete at its end, or an element is too large, too
    /// deep or not UTF-8. Later calls return the same error.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        self.input.check()?;
        let next = self.advance();
        next.map_err(|(kind, offset)| {
            self.carry = Vec::new();
            self.input.fail(kind, offset)
        })
    }

    fn advance(&mut self) -> Result<Option<Event>, (Kind, u64)> {
        loop {
            if self.input.is_empty() && !self.input.refill() {
                return if self.input.is_finished() && !matches!(self.state, State::End) {
                    Err((Kind::Truncated, self.input.offset()))
                } else {
                    Ok(None)
                };
            }
            if !matches!(self.state, State::Bracketed(_) | State::Plain) && !self.between()? {
                continue;
            }
            if let Some(end) = self.element_end()? {
                return self.give(end).map(Some);
            }
        }
    }

    /// Reads the bytes between elements. Returns `true` if an element starts.
    fn between(&mut self) -> Result<bool, (Kind, u64)> {
        let rest = self.input.rest();
        let Some(len) = rest.iter().position(|byte| !json::is_space(*byte)) else {
            self.input.read_to(self.input.chunk().len());
            return Ok(false);
        };
        let at = self.input.at() + len;
        let offset = self.input.offset_of(at);
        self.state = match (&self.state, rest[len]) {
            (State::Start { bom: 0 | 3 }, b'[') => State::First,
            (State::Start { bom }, byte)
                if offset == *bom as u64 && BOM.get(*bom) == Some(&byte) =>
            {
                State::Start { bom: bom + 1 }
            }
            (State::Comma, b',') => State::Element,
            (State::First | State::Comma, b']') => State::End,
            (State::First | State::Element, b'"' | b'[' | b'{') => {
                State::Bracketed(Scan::default())
            }
            (State::First | State::Element, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                State::Plain
            }
            (state, _) => {
                return Err((Kind::Syntax(state.expected()), self.input.offset_of(at)));
            }
        };
        if matches!(self.state, State::Bracketed(_) | State::Plain) {
            self.input.read_to(at);
            self.element_offset = self.input.offset();
            Ok(true)
        } else {
            self.input.read_to(at + 1);
            Ok(false)
        }
    }

    /// Searches for the end of the element and returns its position in the chunk. Without an end,
    /// the rest of the chunk is kept.
    #[inline]
    fn element_end(&mut self) -> Result<Option<usize>, (Kind, u64)> {
        let start = self.input.at();
        let rest = self.input.rest();
        // Nothing beyond the limit is examined. Otherwise the chunking could determine which of two
        // faults is found first.
        let limit = self.limits.max_item_bytes;
        let room = limit - self.carry.len();
        let window = &rest[..rest.len().min(room)];
        let end = match &mut self.state {
            State::Bracketed(scan) => scan
                .piece(window, self.limits.max_depth)
                .map_err(|(kind, at)| (kind, self.input.offset_of(start + at)))?,
            _ => {
                let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.');
                window
                    .iter()
                    .position(|byte| !plain(byte))
                    .or_else(|| rest.get(room).filter(|byte| !plain(byte)).map(|_| room))
            }
        };
        if let Some(len) = end {
            return Ok(Some(start + len));
        }
        if rest.len() > room {
            return Err((Kind::TooLarge { limit }, self.input.offset_of(start + room)));
        }
        work_counter::count(rest.len());
        self.carry.extend_from_slice(rest);
        self.input.read_to(self.input.chunk().len());
        Ok(None)
    }

    /// Returns the element that ends at the position `end`.
    fn give(&mut self, end: usize) -> Result<Event, (Kind, u64)> {
        let start = self.input.at();
        let bytes = if self.carry.is_empty() {
            self.input.chunk().slice(start..end)
        } else {
            self.carry
                .extend_from_slice(&self.input.chunk()[start..end]);
            let len = self.carry.len();
            let bytes = take_carry(&mut self.carry, 0..len);
            self.carry.clear();
            bytes
        };
        self.input.read_to(end);
        self.state = State::Comma;
        let data = Str::from_utf8(bytes)
            .map_err(|error| (Kind::Utf8, self.element_offset + error.valid_up_to() as u64))?;
        self.input.count();
        Ok(Event::new(data))
    }
}

impl State {
    fn expected(&self) -> &'static str {
        match self {
            Self::Start { .. } => "expected \"[\"",
            Self::First => "expected a value or \"]\"",
            Self::Comma => "expected \",\" or \"]\"",
            Self::End => "expected the end after \"]\"",
            Self::Element | Self::Bracketed(_) | Self::Plain => "expected a value",
        }
    }
}

#[cfg(test)]
mod tests;
