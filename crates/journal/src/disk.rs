//! The files of a journal. All its I/O goes through [`Disk`], so that tests can lose, tear and fail
//! any of it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, IoSlice},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::Arc,
};

/// Permissions of new files: only their owner can read them.
const PRIVATE: u32 = 0o600;

/// A folder of files.
pub trait Disk: Send + Sync {
    /// Returns the names of the files, in any order.
    ///
    /// # Errors
    /// The folder can't be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates an empty file.
    ///
    /// # Errors
    /// The file exists, or can't be created.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file to read and write it.
    ///
    /// # Errors
    /// The file doesn't exist, or can't be opened.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file.
    ///
    /// # Errors
    /// The file can't be renamed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The file can't be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes everything that was created, renamed and removed durable.
    ///
    /// # Errors
    /// The folder can't be synced.
    fn sync(&self) -> io::Result<()>;
}

/// A file that can be read and written at any offset.
pub trait DiskFile: Send + Sync {
    /// Writes all parts, one after the other. Nothing of it is durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// Any part of it may have been written.
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Fills a buffer.
    ///
    /// # Errors
    /// [`UnexpectedEof`](ErrorKind::UnexpectedEof) if the file ends before that.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Returns `length` bytes.
    ///
    /// # Errors
    /// [`UnexpectedEof`](ErrorKind::UnexpectedEof) if the file ends before that.
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// Makes the content durable.
    ///
    /// # Errors
    /// Data written since the last sync may be lost. The kernel may have dropped it, so a second sync
    /// of the same file proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Returns the length in bytes.
    ///
    /// # Errors
    /// It can't be determined.
    fn length(&self) -> io::Result<u64>;

    /// Removes the bytes from `length` on. After a crash they may be there again.
    ///
    /// # Errors
    /// They can't be removed.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// A folder of the operating system.
#[derive(Clone, Debug)]
pub struct OsDisk(PathBuf);

impl OsDisk {
    /// Uses a folder, which must exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().into_string().ok());
        fs::read_dir(&self.0)?
            .filter_map(|entry| name(entry).transpose())
            .collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = File::options();
        let file = options.read(true).write(true).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_at(&self, mut parts: &mut [IoSlice<'_>], mut at: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::pwritev(self, parts, at) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    /// Reads into memory that isn't cleared first, which would take about as long as the read.
    fn read(&self, mut at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            match rustix::io::pread(self, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => at += read as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
