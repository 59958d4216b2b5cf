//! The file `commits`, which records the last acknowledged commit.
//!
//! A damaged frame at the end of the journal looks like one that a crash cut off. This file tells them
//! apart: the commit that it records must exist when the log is opened.
//!
//! ```text
//! 0               8       9               17      4096            4104    4105            4113
//! ├───────────────┼───────┼───────────────┤       ├───────────────┼───────┼───────────────┤
//! │ commit        │synced │ seal          │ zeros │ commit        │synced │ seal          │
//! │ u64           │ u8    │ u64           │       │               │       │               │
//! └───────────────┴───────┴───────────────┘       └───────────────┴───────┴───────────────┘
//! synced   1 if commits were synced before they were acknowledged
//! seal     XXH3-64 of the nine bytes before it, seeded with the XXH3-64 of a name of the file
//! ```
//!
//! Numbers are big-endian. The two slots are written in turn, so that a torn write leaves the other one
//! whole. The later commit counts.

use std::io::{self, IoSlice};
use std::sync::Arc;

use headwater_journal::{Disk, DiskFile};

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

/// The name of the file.
pub(crate) const NAME: &str = "commits";

/// The open marker file.
pub(crate) struct Marker {
    file: Arc<dyn DiskFile>,
    next: u64,
}

impl Marker {
    /// Creates the file, with nothing committed.
    pub(crate) fn create(disk: &dyn Disk, synced: bool) -> io::Result<Self> {
        match disk.remove(NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(NAME)?;
        let mut marker = Self { file, next: 0 };
        for _ in 0..2 {
            marker.write(Mark { commit: 0, synced })?;
        }
        marker.file.sync()?;
        disk.sync()?;
        Ok(marker)
    }

    /// Opens the file. The mark is `None` if neither slot is valid.
    pub(crate) fn open(disk: &dyn Disk) -> io::Result<(Self, Option<Mark>)> {
        let file = disk.open(NAME)?;
        let mut marks = [None, None];
        for (slot, mark) in (0_u64..).zip(&mut marks) {
            let mut bytes = [0; SLOT_BYTES];
            match file.read_at(&mut bytes, slot * SLOT) {
                Ok(()) => *mark = Mark::decode(&bytes).ok(),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
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
    /// process at once, and a crash of the machine after the next sync of the [file](Self::file).
    pub(crate) fn write(&mut self, mark: Mark) -> io::Result<()> {
        let mark = mark.encode();
        self.file
            .write_at(&mut [IoSlice::new(&mark)], self.next * SLOT)?;
        self.next = 1 - self.next;
        Ok(())
    }

    pub(crate) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_journal::OsDisk;

    #[test]
    fn the_marker_has_the_last_write_and_survives_a_torn_slot() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        let tear = |marker: &Marker| {
            let torn = [0xff; 9];
            let at = marker.next * SLOT;
            marker
                .file
                .write_at(&mut [IoSlice::new(&torn)], at)
                .unwrap();
        };
        let mut marker = Marker::create(&disk, true).unwrap();
        for commit in [1, 2, 300, 70_000, u64::MAX - 1, u64::MAX] {
            let mark = Mark {
                commit,
                synced: commit % 2 == 0,
            };
            marker.write(mark).unwrap();
            assert_eq!(Marker::open(&disk).unwrap().1, Some(mark));
        }
        let (mut marker, _) = Marker::open(&disk).unwrap();
        // The next write goes to the older slot, and is torn.
        tear(&marker);
        let last = Mark {
            commit: u64::MAX,
            synced: false,
        };
        assert_eq!(Marker::open(&disk).unwrap().1, Some(last));
        marker.next = 1 - marker.next;
        tear(&marker);
        assert_eq!(Marker::open(&disk).unwrap().1, None);
    }
}
