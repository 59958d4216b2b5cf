use std::collections::VecDeque;

use bytes::Bytes;

use crate::{DecodeError, Format, error::Kind};

/// A byte order mark: U+FEFF in UTF-8.
pub(crate) const BOM: &[u8; 3] = b"\xef\xbb\xbf";

/// The chunks that were pushed and aren't read yet, the number of items from them, and the error
/// after which nothing more is read.
///
/// It keeps no chunk that was read, so between chunks a decoder holds only its own copies.
#[derive(Debug)]
pub(crate) struct Input {
    format: Format,
    items: u64,
    failed: Option<DecodeError>,
    waiting: VecDeque<Bytes>,
    chunk: Bytes,
    /// The start of the unread part of `chunk`.
    at: usize,
    /// The offset of `chunk` in the stream.
    base: u64,
    finished: bool,
}

/// Defines the methods of a decoder that its input has.
macro_rules! input_methods {
    ($input:tt) => {
        /// Adds the next bytes of the stream, cut anywhere.
        pub fn push(&mut self, chunk: bytes::Bytes) {
            self.$input.push(chunk);
        }

        /// Marks the end of the stream. Chunks that are pushed later are ignored.
        pub fn finish(&mut self) {
            self.$input.finish();
        }

        /// Returns the number of items that were returned.
        #[must_use]
        pub fn items(&self) -> u64 {
            self.$input.items()
        }
    };
}
pub(crate) use input_methods;

impl Input {
    /// Creates the input of a decoder of `format`.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            items: 0,
            failed: None,
            waiting: VecDeque::new(),
            chunk: Bytes::new(),
            at: 0,
            base: 0,
            finished: false,
        }
    }

    /// Adds a chunk after the others. After [`finish`](Self::finish) it is dropped.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() && !self.finished {
            self.waiting.push_back(chunk);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Returns the error of [`fail`](Self::fail), if there was one.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Fails the next item. Drops all chunks, and all that are pushed later.
    #[cold]
    pub(crate) fn fail(&mut self, kind: Kind, offset: u64) -> DecodeError {
        let error = DecodeError::new(kind, self.format, self.items + 1, offset);
        *self = Self {
            items: self.items,
            failed: Some(error.clone()),
            finished: true,
            ..Self::new(self.format)
        };
        error
    }

    /// Returns the number of items that were counted.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// Counts an item.
    #[inline]
    pub(crate) fn count(&mut self) {
        self.items += 1;
    }

    /// Returns `true` if no more chunks will be pushed. Chunks may still be unread.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Drops the chunk, which must be read to its end, and moves to the next one. Returns `false`
    /// if there is none.
    pub(crate) fn refill(&mut self) -> bool {
        debug_assert!(self.is_empty());
        self.base += self.chunk.len() as u64;
        self.at = 0;
        self.chunk = self.waiting.pop_front().unwrap_or_default();
        !self.chunk.is_empty()
    }

    /// Returns `true` if the chunk is read to its end.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.chunk.len()
    }

    /// Returns the whole chunk. Positions are indices into it.
    #[inline]
    pub(crate) fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// Returns the position of the first unread byte.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns the number of unread bytes of all chunks.
    pub(crate) fn unread(&self) -> usize {
        self.rest().len() + self.waiting.iter().map(Bytes::len).sum::<usize>()
    }

    /// Returns the unread bytes of the chunk.
    #[inline]
    pub(crate) fn rest(&self) -> &[u8] {
        &self.chunk[self.at..]
    }

    /// Marks everything before the position `at` as read.
    #[inline]
    pub(crate) fn read_to(&mut self, at: usize) {
        debug_assert!((self.at..=self.chunk.len()).contains(&at));
        self.at = at;
    }

    /// Returns the number of bytes of the stream before the position `at`.
    #[inline]
    pub(crate) fn offset_of(&self, at: usize) -> u64 {
        self.base + at as u64
    }

    /// Returns the number of bytes of the stream that were read.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.offset_of(self.at)
    }
}
