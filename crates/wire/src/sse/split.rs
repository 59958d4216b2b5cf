use std::mem;

use bytes::Bytes;
use memchr::{memchr, memchr2};

use super::{
    decode::Decoder,
    field::{Field, parse},
};
use crate::{
    DecodeError, Event, Format, Limits, Str,
    error::Kind,
    input::{BOM, Input},
    work_counter,
};

/// A splitter of a `text/event-stream` into its blocks, with the bytes unchanged.
///
/// It is for programs that pass events on unchanged, with comments, line ends and unknown fields. A
/// block ends with a blank line, which is part of it. Blank lines before a block belong to it, and
/// so does a byte order mark. The concatenated blocks are the stream, byte for byte.
///
/// A block is returned as soon as the blank line that ends it has arrived. If that is a CR and the
/// last byte so far, an LF that belongs to it may follow. The LF is then the first byte of the next
/// block, which makes no difference to a reader. Apart from that, the blocks don't depend on the
/// chunking.
///
/// [`Limits::max_item_bytes`] bounds a block with all its lines.
///
/// ```
/// use headwater_wire::{Limits, sse::Splitter};
///
/// let mut splitter = Splitter::new(Limits::default());
/// splitter.push("id: 7\ndata: a\n\n: a comment\n\ndata: b".into());
/// let block = splitter.next()?.expect("it is complete");
/// assert_eq!(block.bytes, "id: 7\ndata: a\n\n");
/// assert_eq!(block.event.expect("it has data").data, "a");
/// assert_eq!(block.id.expect("it has one"), "7");
/// let block = splitter.next()?.expect("it is complete");
/// assert!(block.event.is_none());
/// assert!(splitter.next()?.is_none());
/// # Ok::<(), headwater_wire::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Splitter {
    input: Input,
    decoder: Decoder,
    max_item_bytes: usize,
    /// The start of a block that is cut by the end of a chunk.
    carry: Vec<u8>,
    /// Number of bytes of the stream before the block.
    block_offset: u64,
    /// `true` if the block starts with the LF of the CR that ended the previous one. It counts
    /// towards the previous one.
    starts_with_lf: bool,
    place: Place,
    /// `true` if the last examined byte is a CR. An LF that comes next belongs to it.
    after_cr: bool,
}

/// The position in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Only blank lines so far.
    Blank,
    /// At the start of a line, after a line that isn't blank.
    Line,
    /// Inside a line.
    Within,
}

/// The part of an event stream up to and with a blank line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// The bytes of the stream.
    pub bytes: Bytes,
    /// The event that the block dispatches. `None` if it has no data, or is cut by the end of the
    /// stream.
    pub event: Option<Event>,
    /// The id that the block itself sets, if it does. The id of [`event`](Self::event) can be an
    /// earlier one.
    pub id: Option<Str>,
}

impl Splitter {
    /// Creates a splitter at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            input: Input::new(Format::Sse),
            decoder: Decoder::new(limits),
            max_item_bytes: limits.max_item_bytes,
            carry: Vec::new(),
            block_offset: 0,
            starts_with_lf: false,
            place: Place::Blank,
            after_cr: false,
        }
    }

    /// Adds the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, chunk: Bytes) {
        self.input.push(chunk);
    }

    /// Marks the end of the stream. The rest is then the last block, and dispatches no event.
    pub fn finish(&mut self) {
        self.input.finish();
    }

    /// Returns the reconnection time, if the blocks so far have set one.
    #[must_use]
    pub fn retry(&self) -> Option<std::time::Duration> {
        self.decoder.retry()
    }

    /// Returns the last event id after the blocks so far. Empty until the stream sets one.
    #[must_use]
    pub fn last_event_id(&self) -> &Str {
        self.decoder.last_event_id()
    }

    /// Returns the next block. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more blocks.
    ///
    /// # Errors
    ///
    /// If the block is too large. Later calls return the same error.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    pub fn next(&mut self) -> Result<Option<Block>, DecodeError> {
        self.input.check()?;
        loop {
            if self.input.is_empty() && !self.input.refill() {
                return Ok(if self.input.is_finished() {
                    self.unfinished()
                } else {
                    None
                });
            }
            if self.carry.is_empty() {
                self.block_offset = self.input.offset();
                self.starts_with_lf = self.after_cr && self.input.rest()[0] == b'\n';
            }
            let end = self.find_end();
            self.check_size(end.unwrap_or(self.input.rest().len()))?;
            let (at, rest) = (self.input.at(), self.input.rest());
            let Some(mut len) = end else {
                work_counter::count(rest.len());
                self.carry.extend_from_slice(rest);
                self.input.read_to(self.input.chunk().len());
                continue;
            };
            if self.after_cr && rest.get(len) == Some(&b'\n') {
                self.after_cr = false;
                len += 1;
            }
            let bytes = if self.carry.is_empty() {
                self.input.chunk().slice(at..at + len)
            } else {
                self.carry.extend_from_slice(&rest[..len]);
                mem::take(&mut self.carry).into()
            };
            self.input.read_to(at + len);
            return self.block(bytes).map(Some);
        }
    }

    /// Searches for the end of the block in the rest of the chunk, which is after the first byte of
    /// the blank line.
    fn find_end(&mut self) -> Option<usize> {
        let rest = self.input.rest();
        let mut at = 0;
        while let Some(byte) = rest.get(at) {
            let is_cr = *byte == b'\r';
            if *byte == b'\n' && mem::take(&mut self.after_cr) {
                at += 1;
                continue;
            }
            if is_cr || *byte == b'\n' {
                at += 1;
                self.after_cr = is_cr;
                match self.place {
                    Place::Blank => {}
                    Place::Within => self.place = Place::Line,
                    Place::Line => {
                        self.place = Place::Blank;
                        return Some(at);
                    }
                }
                continue;
            }
            self.after_cr = false;
            self.place = Place::Within;
            let line = memchr2(b'\n', b'\r', &rest[at..]);
            work_counter::count(line.unwrap_or(rest.len() - at));
            at = line.map_or(rest.len(), |len| at + len);
        }
        None
    }

    /// Refuses a block that is too large. `len` is the number of its bytes in the chunk.
    fn check_size(&mut self, len: usize) -> Result<(), DecodeError> {
        let limit = self.max_item_bytes;
        let uncounted = usize::from(self.starts_with_lf);
        if self.carry.len() + len - uncounted <= limit {
            return Ok(());
        }
        self.carry = Vec::new();
        let offset = self.block_offset + (uncounted + limit) as u64;
        Err(self.input.fail(Kind::TooLarge { limit }, offset))
    }

    fn block(&mut self, bytes: Bytes) -> Result<Block, DecodeError> {
        self.decoder.push(bytes.clone());
        let event = self.decoder.next()?;
        if event.is_some() {
            // Makes the decoder copy the values that it keeps, and release the chunk.
            self.decoder.next()?;
        }
        self.input.count();
        // It is a mark only at the start of the stream. Elsewhere it is part of a field's name.
        let bom = match bytes.starts_with(BOM) && self.input.items() == 1 {
            true => BOM.len(),
            false => 0,
        };
        Ok(Block {
            id: sets_id(&bytes[bom..]).then(|| self.decoder.last_event_id().clone()),
            bytes,
            event,
        })
    }

    /// Returns the rest at the end of the stream, if there is any.
    fn unfinished(&mut self) -> Option<Block> {
        if self.carry.is_empty() {
            return None;
        }
        self.input.count();
        Some(Block {
            bytes: mem::take(&mut self.carry).into(),
            event: None,
            id: None,
        })
    }
}

/// Returns `true` if a block has a valid `id` field.
fn sets_id(block: &[u8]) -> bool {
    let mut rest = block;
    while !rest.is_empty() {
        let len = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..len];
        if let Some((Field::Id, value)) = parse(line)
            && memchr(0, &line[value..]).is_none()
        {
            return true;
        }
        rest = rest.get(len + 1..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests;
