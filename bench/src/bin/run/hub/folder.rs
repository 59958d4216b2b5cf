//! The folder of a server's data.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use headwater_bench::Error;

use crate::options::folder;

/// A folder for one server's data, on the benchmark's disk. Dropping this removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder()
            .join(".data")
            .join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the disk space of its files, in bytes.
    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        self.sum(&|_, about| {
            // In units of 512 bytes on every file system: stat(2).
            about.blocks() * 512
        })
    }

    /// Returns the length of its files with an extension, in bytes.
    pub(super) fn bytes_of(&self, extension: &str) -> Result<u64, Error> {
        self.sum(&|path, about| match path.extension() {
            Some(of) if of == extension => about.len(),
            _ => 0,
        })
    }

    /// Adds up the files and folders. A file that disappears meanwhile counts as nothing.
    fn sum(&self, bytes: &dyn Fn(&Path, &fs::Metadata) -> u64) -> Result<u64, Error> {
        fn each(path: &Path, bytes: &dyn Fn(&Path, &fs::Metadata) -> u64) -> std::io::Result<u64> {
            let mut sum = 0;
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let about = match entry.metadata() {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    about => about?,
                };
                sum += bytes(&entry.path(), &about);
                if about.is_dir() {
                    sum += each(&entry.path(), bytes)?;
                }
            }
            Ok(sum)
        }
        Ok(each(&self.0, bytes)?)
    }

    /// Writes its files to the disk, and drops them from the page cache.
    pub(crate) fn drop_from_cache(&self) -> Result<(), Error> {
        fn each(path: &Path) -> std::io::Result<()> {
            for entry in fs::read_dir(path)? {
                let path = entry?.path();
                if path.is_dir() {
                    each(&path)?;
                    continue;
                }
                let file = fs::File::open(&path)?;
                file.sync_all()?;
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            }
            Ok(())
        }
        Ok(each(&self.0)?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover doesn't matter, because the measurement is done.
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(self.0.with_extension("log"));
    }
}
