//! Files that are written from start to end while commits are made.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use crate::disk::{Disk, DiskFile};

/// Bytes after which a new file is synced. A sync of another file waits for one that runs, so a single
/// sync of a large file would hold up commits for as long as the disk takes to write all of it.
const SYNC_BYTES: u64 = 1 << 20;

/// A new file that is written from its start to its end. Its parts are synced on the way, so that syncs
/// of other files never wait long.
pub struct NewFile {
    file: Arc<dyn DiskFile>,
    written: u64,
    synced: u64,
}

impl NewFile {
    /// Creates an empty file.
    ///
    /// # Errors
    /// The file exists, or can't be created.
    pub fn create(disk: &dyn Disk, name: &str) -> io::Result<Self> {
        Ok(Self {
            file: disk.create(name)?,
            written: 0,
            synced: 0,
        })
    }

    /// Returns the number of bytes in the file.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds bytes at the end. They are durable after [`finish`](Self::finish).
    ///
    /// # Errors
    /// The disk failed. The file can't be finished.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file
            .write_at(&mut [IoSlice::new(bytes)], self.written)?;
        self.written += bytes.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync()?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Syncs the rest. The name of the file is durable after [`Disk::sync`].
    ///
    /// # Errors
    /// The disk failed.
    pub fn finish(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        self.file.sync()?;
        Ok(Arc::clone(&self.file))
    }
}
