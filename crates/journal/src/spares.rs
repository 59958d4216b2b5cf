//! Segments that are prepared before they are needed, so that a commit neither waits for them nor
//! makes the file system record new blocks.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    disk::{Disk, DiskFile},
    segment::segment_name,
};

/// Number of zeros in one write. Larger writes make larger folios in the page cache, and ext4 visits
/// all blocks of a changed folio at each sync.
const PIECE: usize = 64 << 10;
/// Number of retired segments that are kept to be used again. More are removed.
const RETIRED: usize = 2;

/// The prepared segments of a journal, and the retired ones from which more are made.
///
/// It is shared with the thread that calls [`fill`](Self::fill).
pub struct Spares {
    disk: Arc<dyn Disk>,
    bytes: u64,
    /// Held while a segment is prepared, so that they are prepared in the order of their numbers.
    next: Mutex<u64>,
    ready: Mutex<VecDeque<(u64, Arc<dyn DiskFile>)>>,
    retired: Mutex<Vec<u64>>,
}

impl Spares {
    pub(crate) fn new(disk: Arc<dyn Disk>, bytes: u64, next: u64) -> Self {
        Self {
            disk,
            bytes,
            next: Mutex::new(next),
            ready: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    /// Prepares segments until `wanted` are ready. It blocks for as long as the disk takes to write
    /// them.
    ///
    /// # Errors
    /// A segment can't be prepared, for example because the disk is full. Those that are ready
    /// stay ready.
    pub fn fill(&self, wanted: usize) -> io::Result<()> {
        let mut next = self.next.lock();
        while self.ready.lock().len() < wanted {
            let recycled = self.retired.lock().pop();
            let file = match recycled {
                Some(old) => self.recycle(old, *next)?,
                None => self.make(*next)?,
            };
            self.ready.lock().push_back((*next, file));
            *next += 1;
        }
        Ok(())
    }

    /// Takes the next segment, and prepares one if none is ready.
    pub(crate) fn take(&self) -> io::Result<(u64, Arc<dyn DiskFile>)> {
        loop {
            if let Some(ready) = self.ready.lock().pop_front() {
                return Ok(ready);
            }
            self.fill(1)?;
        }
    }

    /// Gives up a segment before the checkpoint that the journal is opened from next. Its content is
    /// lost, at once or when its file is used again.
    ///
    /// # Errors
    /// Its file can't be removed.
    pub fn retire(&self, number: u64) -> io::Result<()> {
        let mut retired = self.retired.lock();
        if retired.len() < RETIRED {
            retired.push(number);
            return Ok(());
        }
        drop(retired);
        self.disk.remove(&segment_name(number))
    }

    /// Uses the file of a retired segment again. Its frames are those of another number, so they
    /// count as none.
    fn recycle(&self, old: u64, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        let name = segment_name(number);
        self.disk.rename(&segment_name(old), &name)?;
        let file = self.disk.open(&name)?;
        self.disk.sync()?;
        Ok(file)
    }

    fn make(&self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        let name = segment_name(number);
        let file = match self.disk.create(&name) {
            // An earlier attempt left a part of it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&name)?;
                self.disk.create(&name)?
            }
            created => created?,
        };
        let mut at = 0;
        while at < self.bytes {
            let piece = usize::try_from(self.bytes - at).map_or(PIECE, |left| left.min(PIECE));
            file.write_at(&mut [IoSlice::new(&ZEROS[..piece])], at)?;
            at += piece as u64;
        }
        file.sync()?;
        self.disk.sync()?;
        Ok(file)
    }
}
