//! The journal: frames are written to its end.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use crate::{
    disk::DiskFile,
    frame::{PREFIX, Prefix, Seed},
    segment::{HEADER, Header},
    spares::Spares,
};

/// Length of a new segment in bytes: 64 MiB.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// The location of a frame's head and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the segment.
    pub segment: u64,
    /// The offset of the head in it.
    pub offset: u64,
    /// Length of the head in bytes.
    pub head: u32,
    /// Length of the head and the data that follows it, in bytes.
    pub body: u32,
}

/// The error of a frame that wasn't written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The frame has no head, or is longer than a segment.
    #[error("a frame has a head, and at most {most} bytes; this one has {bytes}")]
    Length {
        /// Bytes of its head and data.
        bytes: u64,
        /// Maximum of these.
        most: u64,
    },
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] io::Error),
}

/// The place where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The number of the next frame.
    pub(crate) next: u64,
    pub(crate) link: u32,
}

/// The end of a journal that was [opened](crate::open). One thread writes to it.
///
/// Frames are numbered in the order in which they are appended, without gaps.
///
/// After an error of [`append`](Self::append) or [`sync`](Self::sync), nothing is written to the same
/// segment any more: the next frame starts another one, whose header says that the failed frames
/// are not in the journal. Their numbers are used again. Until that header is synced, the outcome is
/// open: if the journal is opened again before, it may contain the failed frames.
pub struct Journal {
    identity: u64,
    segment_bytes: u64,
    spares: Arc<Spares>,
    current: Option<Current>,
    tail: Tail,
    /// The tail at the last sync.
    synced: Tail,
}

struct Current {
    number: u64,
    file: Arc<dyn DiskFile>,
    end: u64,
    is_synced: bool,
}

impl Journal {
    pub(crate) fn new(identity: u64, segment_bytes: u64, spares: Arc<Spares>, tail: Tail) -> Self {
        Self {
            identity,
            segment_bytes,
            spares,
            current: None,
            tail,
            synced: tail,
        }
    }

    /// Returns the number of the next frame.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.tail.next
    }

    /// Returns the prepared segments, for the thread that prepares them.
    #[must_use]
    pub fn spares(&self) -> Arc<Spares> {
        Arc::clone(&self.spares)
    }

    /// Returns the maximum length of a frame's head and data, in bytes.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.segment_bytes - (HEADER + PREFIX) as u64
    }

    /// Writes a frame in one call of the operating system. It isn't durable before
    /// [`sync`](Self::sync).
    ///
    /// If it starts a segment, `base` is written into the segment's header.
    ///
    /// # Errors
    /// The frame isn't in the journal, and neither are frames before it that aren't synced and can't
    /// be. [`next`](Self::next) tells.
    pub fn append(
        &mut self,
        base: [u64; 2],
        head: &[u8],
        data: &[&[u8]],
    ) -> Result<Place, WriteError> {
        let bytes = data.iter().map(|part| part.len() as u64).sum::<u64>() + head.len() as u64;
        let most = self.most();
        let body = match u32::try_from(bytes) {
            Ok(body) if bytes <= most && !head.is_empty() => body,
            _ => return Err(WriteError::Length { bytes, most }),
        };
        let whole = PREFIX as u64 + bytes;
        let is_full = |current: &Current| current.end + whole > self.segment_bytes;
        if self.current.as_ref().is_some_and(is_full) {
            // The header of the next segment says that this one is whole.
            self.sync()?;
            self.current = None;
        }
        let mut header = None;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => {
                let current = self.next_segment()?;
                header = Some(self.header(current.number, base).encode());
                current
            }
        };
        let seed = Seed {
            identity: self.identity,
            segment: current.number,
            offset: current.end,
        };
        let prefix = Prefix::new(head, body, self.tail.link, seed);
        let encoded = prefix.encode();
        let mut parts = Vec::with_capacity(data.len() + 3);
        parts.extend(header.as_ref().map(|header| IoSlice::new(header)));
        parts.extend([IoSlice::new(&encoded), IoSlice::new(head)]);
        parts.extend(data.iter().map(|part| IoSlice::new(part)));
        let at = match header {
            Some(_) => 0,
            None => current.end,
        };
        if let Err(error) = current.file.write_at(&mut parts, at) {
            // Nothing more is written to this segment. The frames before this one are kept if they
            // can be synced now.
            self.current = (!current.is_synced).then_some(current);
            let kept = self.sync();
            self.current = None;
            kept?;
            return Err(error.into());
        }
        let place = Place {
            segment: current.number,
            offset: current.end + PREFIX as u64,
            head: prefix.head,
            body,
        };
        current.end += whole;
        current.is_synced = false;
        self.current = Some(current);
        self.tail = Tail {
            next: self.tail.next + 1,
            link: prefix.next_link(),
        };
        Ok(place)
    }

    fn next_segment(&self) -> io::Result<Current> {
        let (number, file) = self.spares.take()?;
        Ok(Current {
            number,
            file,
            end: HEADER as u64,
            is_synced: true,
        })
    }

    /// Returns the header of a segment that starts with the next frame.
    fn header(&self, number: u64, base: [u64; 2]) -> Header {
        Header {
            number,
            identity: self.identity,
            first: self.tail.next,
            link: self.tail.link,
            base,
        }
    }

    /// Makes all frames durable.
    ///
    /// # Errors
    /// The frames since the last sync are given up. [`next`](Self::next) is the number of the first of
    /// them.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        if let Some(current) = &mut self.current
            && !current.is_synced
        {
            if let Err(error) = current.file.sync() {
                // Not tried again: the kernel may have dropped what it couldn't write, and would
                // report success.
                self.current = None;
                self.tail = self.synced;
                return Err(error.into());
            }
            current.is_synced = true;
        }
        self.synced = self.tail;
        Ok(())
    }
}
