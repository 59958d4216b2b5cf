//! Segments that are prepared before they are needed, so that a commit neither waits for them nor
//! makes the file system record new blocks.

use std::{collections::VecDeque, io, sync::Arc};

use parking_lot::Mutex;

use crate::{
    disk::{Disk, DiskFile},
    new_file::NewFile,
    segment::segment_name,
};

/// Number of zeros in one write. Larger writes make larger folios in the page cache, and ext4 visits
/// all blocks of a changed folio at each sync.
const PIECE: usize = 64 << 10;
/// Number of retired segments that are kept to be used again. More are removed. The log gives up as many
/// at once as it rewrites into one file, and needs no zeros for those that are kept.
const RETIRED: usize = 4;
/// Length of the first segment that a journal prepares after it was opened. Each one is twice as long
/// as the one before, up to the maximum, so that a small log takes little space.
const FIRST_BYTES: u64 = 1 << 20;

/// A prepared segment.
pub(crate) struct Ready {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
}

struct Next {
    number: u64,
    bytes: u64,
}

/// The prepared segments of a journal, and the retired ones from which more are made.
///
/// It is shared with the thread that calls [`fill`](Self::fill).
pub struct Spares {
    disk: Arc<dyn Disk>,
    most: u64,
    /// Held while a segment is prepared, so that they are prepared in the order of their numbers.
    next: Mutex<Next>,
    ready: Mutex<VecDeque<Ready>>,
    /// Numbers and lengths.
    retired: Mutex<Vec<(u64, u64)>>,
}

impl Spares {
    pub(crate) fn new(disk: Arc<dyn Disk>, most: u64, next: u64) -> Self {
        let next = Next {
            number: next,
            bytes: FIRST_BYTES.min(most),
        };
        Self {
            disk,
            most,
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
            let ready = self.prepare(&mut next)?;
            self.ready.lock().push_back(ready);
        }
        Ok(())
    }

    /// Returns the number of segments that are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.lock().len()
    }

    /// Takes the next segment, which has at least `least` bytes. Prepares one if none is ready.
    pub(crate) fn take(&self, least: u64) -> io::Result<Ready> {
        if let Some(ready) = self.take_ready(least)? {
            return Ok(ready);
        }
        let mut next = self.next.lock();
        // One may have been prepared until the lock was free.
        if let Some(ready) = self.take_ready(least)? {
            return Ok(ready);
        }
        next.bytes = next.bytes.max(least);
        self.prepare(&mut next)
    }

    /// Takes the first segment that is ready and long enough. Segments are used in the order of their
    /// numbers, so shorter ones before it are given up.
    fn take_ready(&self, least: u64) -> io::Result<Option<Ready>> {
        loop {
            let first = self.ready.lock().pop_front();
            match first {
                Some(short) if short.bytes < least => self.retire(short.number, short.bytes)?,
                first => return Ok(first),
            }
        }
    }

    /// Prepares the next segment, from a retired one if one has the right length.
    fn prepare(&self, next: &mut Next) -> io::Result<Ready> {
        let (number, bytes) = (next.number, next.bytes);
        let fits = |retired: &(u64, u64)| retired.1 == bytes;
        let recycled = {
            let mut retired = self.retired.lock();
            let found = retired.iter().position(fits);
            found.map(|at| retired.swap_remove(at).0)
        };
        let file = match recycled {
            Some(old) => self.recycle(old, number)?,
            None => self.make(number, bytes)?,
        };
        next.number += 1;
        next.bytes = (2 * bytes).min(self.most);
        Ok(Ready {
            number,
            file,
            bytes,
        })
    }

    /// Gives up a segment of this length before the checkpoint that the journal is opened from next.
    /// Its content is lost, at once or when its file is used again.
    ///
    /// # Errors
    /// Its file can't be removed.
    pub fn retire(&self, number: u64, bytes: u64) -> io::Result<()> {
        let mut retired = self.retired.lock();
        if retired.len() < RETIRED && bytes == self.most {
            retired.push((number, bytes));
            return Ok(());
        }
        drop(retired);
        self.disk.remove(&segment_name(number))
    }

    /// Removes the segments that take space without need: the retired ones, and prepared ones that are
    /// longer than the first. The next ones are as short as the first again.
    ///
    /// # Errors
    /// A file can't be removed.
    pub fn shrink(&self) -> io::Result<()> {
        let mut next = self.next.lock();
        next.bytes = FIRST_BYTES.min(self.most);
        let ready = std::mem::take(&mut *self.ready.lock());
        let (kept, long): (VecDeque<_>, VecDeque<_>) =
            ready.into_iter().partition(|it| it.bytes <= next.bytes);
        *self.ready.lock() = kept;
        let long = long.iter().map(|it| it.number);
        let retired = std::mem::take(&mut *self.retired.lock());
        for number in long.chain(retired.into_iter().map(|(number, _)| number)) {
            self.disk.remove(&segment_name(number))?;
        }
        Ok(())
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

    fn make(&self, number: u64, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        let name = segment_name(number);
        let mut file = match NewFile::create(&*self.disk, &name) {
            // An earlier attempt left a part of it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&name)?;
                NewFile::create(&*self.disk, &name)?
            }
            created => created?,
        };
        let mut zero = || {
            while let left @ 1.. = bytes - file.written() {
                let piece = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
                file.write(&ZEROS[..piece])?;
            }
            let file = file.finish()?;
            self.disk.sync()?;
            Ok(file)
        };
        zero().inspect_err(|_| {
            // The part that was written would keep a full disk full.
            let _still_there = self.disk.remove(&name);
        })
    }
}
