//! Reading of a segment's frames, from any of them on.

use std::{io, sync::Arc};

use bytes::Bytes;

use crate::{
    disk::DiskFile,
    frame::{PREFIX, Prefix, Seed},
    journal::Place,
};

/// Number of bytes that are read at once.
const WINDOW: usize = 128 << 10;

/// The error of a frame that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The frame differs from what was written.
    #[error("segment {segment} is damaged at byte {offset}")]
    Damaged {
        /// The number of the segment.
        segment: u64,
        /// The offset in it.
        offset: u64,
    },
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] io::Error),
}

/// A pass over the frames of a segment that the caller knows to be there.
pub struct Frames {
    file: Arc<dyn DiskFile>,
    identity: u64,
    segment: u64,
    at: u64,
    end: u64,
    window: Window,
}

impl Frames {
    /// Starts at a frame. `at` is the offset of a [place](Place::frame), and `end` the offset after
    /// the last frame to read.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>, identity: u64, segment: u64, at: u64, end: u64) -> Self {
        Self {
            file,
            identity,
            segment,
            at,
            end,
            window: Window::default(),
        }
    }

    /// Returns the location and the head of the next frame, or `None` at the end.
    ///
    /// # Errors
    /// The frame differs from what was written, or the disk failed.
    pub fn next_frame(&mut self) -> Result<Option<(Place, Bytes)>, ReadError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let damaged = ReadError::Damaged {
            segment: self.segment,
            offset: self.at,
        };
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        if room < PREFIX {
            return Err(damaged);
        }
        let bytes = self.bytes(self.at, PREFIX)?;
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&bytes);
        let Some(prefix) = Prefix::decode(&prefix, room - PREFIX) else {
            return Err(damaged);
        };
        let place = Place {
            segment: self.segment,
            offset: self.at + PREFIX as u64,
            head: prefix.head,
            body: prefix.body,
        };
        let length = usize::try_from(prefix.head).unwrap_or(usize::MAX);
        let head = self.bytes(place.offset, length)?;
        let seed = Seed {
            identity: self.identity,
            segment: self.segment,
            offset: self.at,
        };
        if !prefix.matches(&head, seed) {
            return Err(damaged);
        }
        self.at = place.end();
        Ok(Some((place, head)))
    }

    /// Returns bytes of the segment, such as a part of the data of the last frame. They aren't
    /// checked.
    ///
    /// # Errors
    /// They can't be read.
    pub fn bytes(&mut self, at: u64, length: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        // A long piece doesn't replace the window: what follows it is more likely to be there.
        let ahead = if length > WINDOW { 0 } else { WINDOW.min(left) };
        self.window.read(&*self.file, at, length, ahead)
    }
}

/// Bytes of a file that were read at once, for reads that are close to each other.
#[derive(Default)]
pub struct Window {
    bytes: Bytes,
    /// The offset of the bytes.
    start: u64,
}

impl Window {
    /// Returns bytes at an offset, from the window if they are in it. Otherwise they are read, and with
    /// them the window is replaced if `ahead` isn't 0: it gets that many bytes, which must exist, or
    /// `length` if that is more.
    ///
    /// # Errors
    /// They can't be read.
    pub fn read(
        &mut self,
        file: &dyn DiskFile,
        at: u64,
        length: usize,
        ahead: usize,
    ) -> io::Result<Bytes> {
        if let Some(found) = self.get(at, length) {
            return Ok(found);
        }
        let read = Bytes::from(file.read(at, ahead.max(length))?);
        let wanted = read.slice(..length);
        if ahead > 0 {
            (self.bytes, self.start) = (read, at);
        }
        Ok(wanted)
    }

    fn get(&self, at: u64, length: usize) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(length)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

impl Place {
    /// Returns the offset of the frame, before its head.
    #[must_use]
    pub fn frame(&self) -> u64 {
        self.offset - PREFIX as u64
    }

    /// Returns the offset of the data, after the head.
    #[must_use]
    pub fn data(&self) -> u64 {
        self.offset + u64::from(self.head)
    }

    /// Returns the offset after the frame.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.body)
    }
}
