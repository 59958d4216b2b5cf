//! A folder in memory.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, IoSlice},
    sync::{Arc, Mutex},
};

use headwater_journal::{Disk, DiskFile};

use super::sorted_name;

/// A folder whose files are written once, from start to end.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<BTreeMap<String, Content>>>);

#[derive(Clone, Default)]
struct Content {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// The offset and length of each read.
    reads: Arc<Mutex<Vec<(u64, usize)>>>,
    /// The length at the last sync.
    synced: Arc<Mutex<u64>>,
}

impl Memory {
    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    pub(super) fn content(&self, number: u64) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.0.lock().unwrap()[&sorted_name(number)].bytes)
    }

    /// Takes the reads of a file since the last call.
    pub(super) fn reads(&self, number: u64) -> Vec<(u64, usize)> {
        let files = self.0.lock().unwrap();
        std::mem::take(&mut files[&sorted_name(number)].reads.lock().unwrap())
    }

    pub(super) fn synced(&self, number: u64) -> u64 {
        *self.0.lock().unwrap()[&sorted_name(number)]
            .synced
            .lock()
            .unwrap()
    }
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = Content::default();
        let old = self
            .0
            .lock()
            .unwrap()
            .insert(name.to_owned(), content.clone());
        assert!(old.is_none(), "the file exists");
        Ok(Arc::new(content))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.0.lock().unwrap().get(name) {
            Some(content) => Ok(Arc::new(content.clone())),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let content = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Content {
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut content = self.bytes.lock().unwrap();
        assert_eq!(content.len() as u64, at, "a file is written in order");
        for part in parts {
            content.extend_from_slice(part);
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.reads.lock().unwrap().push((at, buffer.len()));
        let content = self.bytes.lock().unwrap();
        let at = usize::try_from(at).unwrap();
        let found = content.get(at..at + buffer.len());
        buffer.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        *self.synced.lock().unwrap() = self.length()?;
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        unreachable!("a sorted file is never shortened")
    }
}
