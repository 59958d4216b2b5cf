//! The bytes that a log writes to its disk.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater_journal::{Disk, DiskFile, segment_number};

use super::sorted;

/// The bytes that a log has written since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Bytes of the messages that were appended.
    pub appended: u64,
    /// Bytes of commits.
    pub commits: u64,
    /// Bytes of segments besides: headers, and the zeros with which new segments are prepared. Segments
    /// that are used again need no zeros.
    pub prepared: u64,
    /// Bytes of sorted files.
    pub sorted: u64,
    /// Bytes of the index, and of all other files.
    pub index: u64,
}

impl Written {
    /// Returns the bytes that were written.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.commits + self.prepared + self.sorted + self.index
    }

    /// Returns what was written since an earlier time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            appended: self.appended.saturating_sub(earlier.appended),
            commits: self.commits.saturating_sub(earlier.commits),
            prepared: self.prepared.saturating_sub(earlier.prepared),
            sorted: self.sorted.saturating_sub(earlier.sorted),
            index: self.index.saturating_sub(earlier.index),
        }
    }
}

/// Counts what is written.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) appended: AtomicU64,
    pub(crate) commits: AtomicU64,
    segments: AtomicU64,
    sorted: AtomicU64,
    index: AtomicU64,
}

impl Counters {
    pub(crate) fn written(&self) -> Written {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Before the bytes of segments, which include them.
        let commits = of(&self.commits);
        Written {
            appended: of(&self.appended),
            commits,
            prepared: of(&self.segments).saturating_sub(commits),
            sorted: of(&self.sorted),
            index: of(&self.index),
        }
    }

    fn of(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Segment => &self.segments,
            Kind::Sorted => &self.sorted,
            Kind::Other => &self.index,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Segment,
    Sorted,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            _ if sorted::number_of(name).is_some() => Self::Sorted,
            _ if segment_number(name).is_some() => Self::Segment,
            _ => Self::Other,
        }
    }
}

/// A disk whose writes are counted.
pub(crate) struct Counted {
    disk: Arc<dyn Disk>,
    counters: Arc<Counters>,
}

impl Counted {
    pub(crate) fn new(disk: Arc<dyn Disk>, counters: Arc<Counters>) -> Self {
        Self { disk, counters }
    }

    fn counted(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountedFile {
            file,
            counters: Arc::clone(&self.counters),
            kind: Kind::of(name),
        })
    }
}

impl Disk for Counted {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counted(name, self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counted(name, self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

struct CountedFile {
    file: Arc<dyn DiskFile>,
    counters: Arc<Counters>,
    kind: Kind,
}

impl DiskFile for CountedFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let counter = self.counters.of(self.kind);
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
        self.file.write_at(parts, at)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(buffer, at)
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        self.file.read(at, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }
}
