use std::collections::VecDeque;

use bytes::Bytes;

/// A byte order mark: U+FEFF in UTF-8.
pub(crate) const BOM: &[u8; 3] = b"\xef\xbb\xbf";

/// The chunks that came in and are not read yet.
///
/// Holds on to no chunk that has been read: between chunks a decoder keeps only what it copied.
#[derive(Debug, Default)]
pub(crate) struct Input {
    waiting: VecDeque<Bytes>,
    chunk: Bytes,
    /// Where the unread part of `chunk` starts.
    at: usize,
    /// The place of `chunk` in the stream.
    base: u64,
    finished: bool,
}

impl Input {
    /// Adds a chunk behind the others. After [`finish`](Self::finish) it is dropped.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() && !self.finished {
            self.waiting.push_back(chunk);
        }
    }

    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Lets go of everything, and drops what comes from now on.
    pub(crate) fn close(&mut self) {
        *self = Self {
            finished: true,
            ..Self::default()
        };
    }

    /// Whether no more will come. Chunks may still wait.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Lets go of the chunk, which must be read to its end, and takes up the next one.
    pub(crate) fn refill(&mut self) -> bool {
        debug_assert!(self.is_empty());
        self.base += self.chunk.len() as u64;
        self.at = 0;
        self.chunk = self.waiting.pop_front().unwrap_or_default();
        !self.chunk.is_empty()
    }

    /// Whether the chunk is read to its end.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.chunk.len()
    }

    /// The whole chunk; positions are indices into it.
    #[inline]
    pub(crate) fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// The position of the first unread byte.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The bytes that are not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &[u8] {
        &self.chunk[self.at..]
    }

    /// Says that everything before the position `at` is read.
    #[inline]
    pub(crate) fn read_to(&mut self, at: usize) {
        debug_assert!((self.at..=self.chunk.len()).contains(&at));
        self.at = at;
    }

    /// How many bytes of the stream stand before the position `at`.
    #[inline]
    pub(crate) fn offset_of(&self, at: usize) -> u64 {
        self.base + at as u64
    }

    /// How many bytes of the stream have been read.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.offset_of(self.at)
    }
}
