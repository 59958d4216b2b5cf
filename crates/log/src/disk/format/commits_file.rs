//! The file `commits` next to the database, which records the last acknowledged commit.
//!
//! fjall silently truncates a damaged journal at the damage. This file makes that detectable: the
//! commit that it records must exist when the log is opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::Path;

use super::bytes::{Malformed, SEAL, seal, unseal};

/// Permissions of a file that only its owner may read and write.
pub(crate) const PRIVATE_FILE: u32 = 0o600;

const MAGIC: &[u8] = b"headwater commit";
/// Size of a slot. Each slot is in a sector of its own, so that writing one can't tear the other.
const SLOT: u64 = 4096;
const SLOT_BYTES: usize = 9 + SEAL;

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) commit: u64,
    /// `true` if commits were synced before they were acknowledged.
    pub(crate) synced: bool,
}

impl Mark {
    fn encode(self) -> Vec<u8> {
        let mut out = self.commit.to_be_bytes().to_vec();
        out.push(u8::from(self.synced));
        seal(MAGIC, out)
    }

    fn decode(slot: &[u8]) -> Result<Self, Malformed> {
        let (commit, synced) = unseal(MAGIC, slot)?.split_first_chunk().ok_or(Malformed)?;
        Ok(Self {
            commit: u64::from_be_bytes(*commit),
            synced: synced == [1],
        })
    }
}

/// The open marker file.
#[derive(Debug)]
pub(crate) struct Marker {
    file: File,
    next: u64,
}

impl Marker {
    /// Creates the file, with nothing committed.
    pub(crate) fn create(path: &Path, synced: bool) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(PRIVATE_FILE)
            .open(path)?;
        let mut marker = Self { file, next: 0 };
        for _ in 0..2 {
            marker.write(Mark { commit: 0, synced })?;
        }
        marker.file.sync_all()?;
        Ok(marker)
    }

    /// Opens the file. The mark is `None` if neither slot is valid.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Mark>)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut marks = [None, None];
        for (slot, mark) in (0_u64..).zip(&mut marks) {
            let mut bytes = [0; SLOT_BYTES];
            if file.read_exact_at(&mut bytes, slot * SLOT).is_ok() {
                *mark = Mark::decode(&bytes).ok();
            }
        }
        let [first, second] = marks.map(|mark| mark.map_or(0, |mark| mark.commit));
        let best = if first >= second {
            marks[0].or(marks[1])
        } else {
            marks[1]
        };
        let next = u64::from(first >= second);
        Ok((Self { file, next }, best))
    }

    /// Records that this commit is about to be acknowledged. The record survives the end of the
    /// process at once, and a crash of the machine after the next [`sync`](Self::sync).
    pub(crate) fn write(&mut self, mark: Mark) -> io::Result<()> {
        self.file.write_all_at(&mark.encode(), self.next * SLOT)?;
        self.next = 1 - self.next;
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Returns another handle of the same file, to sync it from another thread.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_has_the_last_write_and_survives_a_torn_slot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("commits");
        let mut marker = Marker::create(&path, true).unwrap();
        for commit in [1, 2, 300, 70_000, u64::MAX - 1, u64::MAX] {
            let mark = Mark {
                commit,
                synced: commit % 2 == 0,
            };
            marker.write(mark).unwrap();
            assert_eq!(Marker::open(&path).unwrap().1, Some(mark));
        }
        let (mut marker, _) = Marker::open(&path).unwrap();
        // The next write goes to the older slot, and is torn.
        marker
            .file
            .write_all_at(&[0xff; 9], marker.next * SLOT)
            .unwrap();
        let last = Mark {
            commit: u64::MAX,
            synced: false,
        };
        assert_eq!(Marker::open(&path).unwrap().1, Some(last));
        marker.next = 1 - marker.next;
        marker
            .file
            .write_all_at(&[0xff; 9], marker.next * SLOT)
            .unwrap();
        assert_eq!(Marker::open(&path).unwrap().1, None);
    }
}
