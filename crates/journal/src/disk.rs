//! The files of a journal. All its I/O goes through [`Disk`], so that tests can lose, tear and fail
//! any of it.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSlice},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags},
    io::retry_on_intr,
};

/// Permissions of new files: only their owner can read and write them.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

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

/// A folder of the operating system. It stays the same one if it is renamed, or if another folder takes its place.
#[derive(Clone, Debug)]
pub struct OsDisk(Arc<File>);

impl OsDisk {
    /// Opens a folder, which must exist.
    ///
    /// # Errors
    /// It can't be opened, or isn't a folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| fs::open(folder, flags, Mode::empty()))?;
        Ok(Self(Arc::new(opened.into())))
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<Arc<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | flags;
        let opened = retry_on_intr(|| fs::openat(&self.0, name, flags, PRIVATE))?;
        Ok(Arc::new(File::from(opened)))
    }
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_str().map(str::to_owned);
            names.extend(name.ok().filter(|name| name != "." && name != ".."));
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(name, OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(name, OFlags::empty())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.0, from, &self.0, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
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
