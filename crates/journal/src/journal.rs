//! The journal: frames are written to its end.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use crate::{
    disk::DiskFile,
    frame::{PREFIX, Prefix, Seed},
    segment::{HEADER, Header},
    spares::{Ready, Spares},
};

/// Maximum length of a segment in bytes: 64 MiB. A frame that needs more gets a longer one.
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
    /// The frame has no head, or is too long.
    #[error("a frame has a head, and at most {most} bytes; this one has {bytes}")]
    Length {
        /// Bytes of its head and data.
        bytes: u64,
        /// Maximum of these.
        most: u64,
    },
    /// No segment could be prepared. Nothing was written.
    #[error("no segment could be prepared")]
    Segment(#[source] io::Error),
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] io::Error),
}

/// A position between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The number of the next frame.
    pub next: u64,
    /// The part of the last frame's checksum that the next one contains.
    pub link: u32,
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
    bytes: u64,
    is_synced: bool,
}

/// The segment that the last frame is in.
#[derive(Clone)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub file: Arc<dyn DiskFile>,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Journal {
    pub(crate) fn new(identity: u64, spares: Arc<Spares>, tail: Tail) -> Self {
        Self {
            identity,
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

    /// Returns the segment that the last frame of this process is in.
    #[must_use]
    pub fn segment(&self) -> Option<Segment> {
        self.current.as_ref().map(|current| Segment {
            number: current.number,
            file: Arc::clone(&current.file),
            bytes: current.bytes,
        })
    }

    /// Ends the current segment: the next frame starts another one. All frames are durable
    /// afterwards.
    ///
    /// # Errors
    /// As for [`sync`](Self::sync).
    pub fn rotate(&mut self) -> Result<(), WriteError> {
        self.sync()?;
        self.current = None;
        Ok(())
    }

    /// Gives the next frame a number that is later than that of the last one. The frames before it are
    /// lost: the journal must be opened from a [checkpoint](crate::Checkpoint) at the new
    /// [tail](Self::tail) from now on.
    pub fn skip_to(&mut self, number: u64) {
        self.current = None;
        self.tail.next = number;
        self.synced = self.tail;
    }

    /// Returns the position in the order of frames at which the next one comes.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// Writes a frame in one call of the operating system. It isn't durable before
    /// [`sync`](Self::sync).
    ///
    /// # Errors
    /// The frame isn't in the journal, and neither are frames before it that aren't synced and can't
    /// be. [`next`](Self::next) tells.
    pub fn append(&mut self, head: &[u8], data: &[&[u8]]) -> Result<Place, WriteError> {
        let bytes = data.iter().map(|part| part.len() as u64).sum::<u64>() + head.len() as u64;
        let most = u64::from(u32::MAX);
        let body = match u32::try_from(bytes) {
            Ok(body) if bytes <= most && !head.is_empty() => body,
            _ => return Err(WriteError::Length { bytes, most }),
        };
        let whole = PREFIX as u64 + bytes;
        let is_full = |current: &Current| current.end + whole > current.bytes;
        if self.current.as_ref().is_some_and(is_full) {
            // The header of the next segment says that this one is whole.
            self.rotate()?;
        }
        let mut header = None;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => {
                let current = self
                    .next_segment(HEADER as u64 + whole)
                    .map_err(WriteError::Segment)?;
                header = Some(self.header(current.number).encode());
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
            if header.is_some() {
                // Otherwise a disk that keeps failing would take a file for each attempt.
                let _still_there = self.spares.retire(current.number, current.bytes);
                return Err(error.into());
            }
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

    fn next_segment(&self, least: u64) -> io::Result<Current> {
        let Ready {
            number,
            file,
            bytes,
        } = self.spares.take(least)?;
        Ok(Current {
            number,
            file,
            bytes,
            end: HEADER as u64,
            is_synced: true,
        })
    }

    /// Returns the header of a segment that starts with the next frame.
    fn header(&self, number: u64) -> Header {
        Header {
            number,
            identity: self.identity,
            first: self.tail.next,
            link: self.tail.link,
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
