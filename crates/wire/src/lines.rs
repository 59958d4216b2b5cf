use std::ops::Range;

use bytes::Bytes;
use memchr::memchr;

use crate::{
    DecodeError, Format,
    error::Kind,
    input::{BOM, Input},
    work_counter,
};

/// A splitter of chunks into lines. A line that lies in one chunk isn't copied.
///
/// It is linear in the input for any chunking: each byte is examined once for each kind of line
/// end, and copied at most once, if its line is cut by the end of a chunk.
#[derive(Debug)]
pub(crate) struct Lines {
    input: Input,
    ends: Ends,
    /// The position of the first CR in the unread part of the chunk, if CRs end lines. Otherwise,
    /// and if there is none, the chunk's length. Most streams have none, so that a search for LF is
    /// enough.
    next_cr: usize,
    /// `true` if the last chunk ended with a CR. An LF that comes next belongs to it.
    after_cr: bool,
    /// Number of bytes of a byte order mark seen at the start. 3 once there is one or there can't
    /// be one.
    bom: usize,
    /// The start of a line that is cut by the end of a chunk, without the part above `max_carry`.
    carry: Vec<u8>,
    carry_offset: u64,
    max_carry: usize,
    line: Line,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// LF, CR or CRLF (WHATWG HTML §9.2.5).
    Any,
    /// LF only. A CR before it is part of the line.
    Lf,
    /// LF only. A CR before it is part of the line, but doesn't count towards its size.
    CrLf,
}

/// The end of an item that is a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Lf,
    /// The end of the stream.
    Stream,
}

/// The location of the current line.
#[derive(Debug)]
enum Line {
    Chunk { start: usize, end: usize },
    Carry,
}

impl Lines {
    /// Creates a splitter for a decoder of `format`, which must refuse lines of more than `limit`
    /// bytes. Of a longer line that is cut by the end of a chunk, only the start is kept.
    pub(crate) fn new(format: Format, ends: Ends, skip_bom: bool, limit: usize) -> Self {
        // Another byte is needed to exceed the limit.
        let beyond = if ends == Ends::CrLf { 2 } else { 1 };
        Self {
            input: Input::new(format),
            ends,
            next_cr: 0,
            after_cr: false,
            bom: if skip_bom { 0 } else { BOM.len() },
            carry: Vec::new(),
            carry_offset: 0,
            max_carry: limit.saturating_add(beyond),
            line: Line::Chunk { start: 0, end: 0 },
            limit,
        }
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.input.push(chunk);
    }

    pub(crate) fn finish(&mut self) {
        self.input.finish();
    }

    /// Returns the error of [`fail`](Self::fail), if there was one.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        self.input.check()
    }

    /// Fails the next item. Drops everything, and all chunks that are pushed later.
    #[cold]
    pub(crate) fn fail(&mut self, kind: Kind, offset: u64) -> DecodeError {
        self.carry = Vec::new();
        self.line = Line::Chunk { start: 0, end: 0 };
        self.input.fail(kind, offset)
    }

    /// Returns the number of items that were counted.
    pub(crate) fn items(&self) -> u64 {
        self.input.items()
    }

    /// Counts an item.
    #[inline]
    pub(crate) fn count(&mut self) {
        self.input.count();
    }

    /// Advances to the next line of a format whose items are lines. The end of the stream ends a
    /// last line that isn't empty. Returns how the line ended, or `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// If the line is larger than the limit. Later calls return the same error.
    #[inline]
    pub(crate) fn next_item(&mut self) -> Result<Option<End>, DecodeError> {
        self.check()?;
        let end = if self.advance() {
            Some(End::Lf)
        } else if self.input.is_finished() && self.end_partial() {
            Some(End::Stream)
        } else {
            None
        };
        let (line, offset) = match end {
            Some(_) => (self.line(), self.line_offset()),
            None => (self.partial(), self.partial_offset()),
        };
        if self.size(line) > self.limit {
            let limit = self.limit;
            return Err(self.fail(Kind::TooLarge { limit }, offset + limit as u64));
        }
        Ok(end)
    }

    /// Returns the part of a line that counts towards its size.
    #[inline]
    pub(crate) fn size(&self, line: &[u8]) -> usize {
        line.len() - usize::from(self.ends == Ends::CrLf && line.ends_with(b"\r"))
    }

    /// Advances to the next complete line. Returns `false` if there is none yet.
    #[inline]
    pub(crate) fn advance(&mut self) -> bool {
        if matches!(self.line, Line::Carry) {
            self.carry.clear();
            self.line = Line::Chunk { start: 0, end: 0 };
        }
        loop {
            if self.input.is_empty() {
                if !self.refill() {
                    return false;
                }
                continue;
            }
            let start = self.input.at();
            let Some(end) = self.find_end(start) else {
                self.keep(start, self.input.chunk().len());
                self.input.read_to(self.input.chunk().len());
                continue;
            };
            if self.carry.is_empty() {
                self.line = Line::Chunk { start, end };
            } else {
                self.keep(start, end);
                self.line = Line::Carry;
            }
            return true;
        }
    }

    /// Skips an empty line if one comes next in the chunk. This avoids a whole
    /// [`advance`](Self::advance) for the common end of an SSE event. The current line stays.
    #[inline]
    pub(crate) fn skip_empty(&mut self) -> bool {
        let next = self.input.at();
        match self.input.chunk().get(next) {
            Some(b'\n') => self.input.read_to(next + 1),
            Some(b'\r') if self.ends == Ends::Any => self.skip_cr(next),
            _ => return false,
        }
        true
    }

    /// Returns the current line without its end. Valid after [`advance`](Self::advance) returned
    /// `true`.
    #[inline]
    pub(crate) fn line(&self) -> &[u8] {
        match self.line {
            Line::Chunk { start, end } => &self.input.chunk()[start..end],
            Line::Carry => &self.carry,
        }
    }

    /// Returns the number of bytes of the stream before the current line.
    pub(crate) fn line_offset(&self) -> u64 {
        match self.line {
            Line::Chunk { start, .. } => self.input.offset_of(start),
            Line::Carry => self.carry_offset,
        }
    }

    /// Takes a part of the current line, to keep it. The line itself may be unavailable after this.
    #[inline]
    pub(crate) fn take(&mut self, part: Range<usize>) -> Bytes {
        match self.line {
            Line::Chunk { start, end } => {
                debug_assert!(start + part.end <= end);
                self.input
                    .chunk()
                    .slice(start + part.start..start + part.end)
            }
            Line::Carry => take_carry(&mut self.carry, part),
        }
    }

    /// Takes the current line with its end.
    pub(crate) fn take_with_end(&mut self, end: End) -> Bytes {
        debug_assert_ne!(self.ends, Ends::Any);
        match self.line {
            Line::Chunk { start, end } => self.input.chunk().slice(start..=end),
            Line::Carry => {
                if end == End::Lf {
                    self.carry.push(b'\n');
                }
                let len = self.carry.len();
                let line = take_carry(&mut self.carry, 0..len);
                self.carry.clear();
                line
            }
        }
    }

    /// Returns the number of bytes that are held and aren't in a line that was taken.
    pub(crate) fn buffered(&self) -> usize {
        self.input.unread() + self.carry.len()
    }

    /// Returns the line that has begun and not ended yet. Valid after [`advance`](Self::advance)
    /// returned `false`.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.carry
    }

    /// Returns the number of bytes of the stream before the [`partial`](Self::partial) line.
    pub(crate) fn partial_offset(&self) -> u64 {
        self.carry_offset
    }

    /// Returns the number of bytes of the stream that were read.
    pub(crate) fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Makes the partial line the current one, at the end of the input. Returns `false` if it is
    /// empty.
    fn end_partial(&mut self) -> bool {
        debug_assert!(self.input.is_finished() && self.input.is_empty());
        if self.bom < BOM.len() {
            self.carry.extend_from_slice(&BOM[..self.bom]);
            self.bom = BOM.len();
        }
        if self.carry.is_empty() {
            return false;
        }
        self.line = Line::Carry;
        true
    }

    /// Finds the end of the line that starts at `start`, and reads past it.
    #[inline]
    fn find_end(&mut self, start: usize) -> Option<usize> {
        let chunk = self.input.chunk();
        let lf = memchr(b'\n', &chunk[start..self.next_cr]);
        work_counter::count(lf.unwrap_or(self.next_cr - start));
        if let Some(len) = lf {
            self.input.read_to(start + len + 1);
            return Some(start + len);
        }
        if self.next_cr == chunk.len() {
            return None;
        }
        let end = self.next_cr;
        self.skip_cr(end);
        Some(end)
    }

    /// Reads past the CR at the position `cr`, and past an LF that belongs to it.
    fn skip_cr(&mut self, cr: usize) {
        debug_assert_eq!(cr, self.next_cr);
        let chunk = self.input.chunk();
        let mut next = cr + 1;
        match chunk.get(next) {
            Some(b'\n') => next += 1,
            Some(_) => {}
            None => self.after_cr = true,
        }
        self.next_cr = find_cr(chunk, next);
        self.input.read_to(next);
    }

    #[cold]
    fn refill(&mut self) -> bool {
        if !self.input.refill() {
            return false;
        }
        let chunk = self.input.chunk();
        let mut at = 0;
        while self.bom < BOM.len() && at < chunk.len() {
            if chunk[at] == BOM[self.bom] {
                self.bom += 1;
                at += 1;
            } else {
                // There is no byte order mark. The bytes that looked like one belong to the first
                // line.
                self.carry.extend_from_slice(&BOM[..self.bom]);
                self.bom = BOM.len();
                // The part of them in this chunk is in the carry too, so `at` stays after it.
            }
        }
        if self.after_cr {
            self.after_cr = false;
            at += usize::from(chunk[at] == b'\n');
        }
        self.next_cr = match self.ends {
            Ends::Any => find_cr(chunk, at),
            Ends::Lf | Ends::CrLf => chunk.len(),
        };
        self.input.read_to(at);
        true
    }

    /// Copies a part of the chunk to the carry, after the earlier part of its line.
    fn keep(&mut self, start: usize, end: usize) {
        if self.carry.is_empty() {
            self.carry_offset = self.input.offset_of(start);
        }
        // The carry of a line that only looked like it had a byte order mark can be longer.
        let room = self.max_carry.saturating_sub(self.carry.len());
        let end = end.min(start.saturating_add(room));
        work_counter::count(end - start);
        self.carry
            .extend_from_slice(&self.input.chunk()[start..end]);
    }
}

/// Returns the position of the first CR from `at` on, or the end of the chunk.
fn find_cr(chunk: &[u8], at: usize) -> usize {
    let cr = memchr(b'\r', &chunk[at..]).map_or(chunk.len(), |len| at + len);
    work_counter::count(cr - at);
    cr
}

/// Takes a part of the carry, with its memory unless most of that is unused.
pub(crate) fn take_carry(carry: &mut Vec<u8>, part: Range<usize>) -> Bytes {
    if carry.capacity() / 2 > part.len() {
        Bytes::copy_from_slice(&carry[part])
    } else {
        Bytes::from(std::mem::take(carry)).slice(part)
    }
}
