//! Zeros written ahead of the journal's end.
//!
//! fjall creates a journal as a sparse file of 64 MiB. When data is written into a hole and synced,
//! the file system has to record the new blocks each time, which takes about as long as the data
//! itself. So zeros are written ahead, a stretch at a time, and later data overwrites them. fjall
//! treats zeros like a hole: as the end of the journal.
//!
//! Only the writer appends to the journal. The writer's thread also writes the zeros, between two
//! commits, only into a hole, and never past the file's end. So the zeros can't overwrite data. A
//! replayed journal has no space after its data, and is left unchanged.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

/// Number of bytes written ahead at a time.
const STRETCH: u64 = 1 << 20;
/// Number of zeros in one write. Larger writes make larger folios in the page cache, and ext4 visits
/// all blocks of a changed folio at each sync: with writes of 1 MiB, small syncs take 10 to 25 %
/// longer.
const PIECE: usize = 64 << 10;
/// Minimum distance of the journal's end from the end of the zeros. Below it, more are written.
const MARGIN: u64 = 128 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];
/// Size above which a commit isn't prepared for: its own data dominates the time of the sync.
const LARGE: u64 = 64 << 10;
/// The zeros start at a multiple of this.
const PAGE: u64 = 4096;

pub(crate) struct Runway {
    folder: PathBuf,
    journal: Option<Journal>,
}

struct Journal {
    number: u64,
    file: File,
    /// The journal's end, or a somewhat later offset.
    end: u64,
    /// The end of the allocated blocks.
    zeros: u64,
    /// The next journal's file, which is created when this one is full.
    next: PathBuf,
}

impl Runway {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            journal: None,
        }
    }

    /// Prepares for about `bytes` of journal. A failure only makes syncs slower.
    pub(crate) fn extend(&mut self, bytes: u64) {
        if self
            .journal
            .as_ref()
            .is_none_or(|journal| journal.next.exists())
        {
            self.journal = newest(&self.folder);
        }
        let Some(journal) = &mut self.journal else {
            return;
        };
        journal.end += bytes;
        if bytes > LARGE {
            return;
        }
        if journal.end + MARGIN > journal.zeros && journal.lengthen().is_none() {
            // This file can't be improved, so it isn't examined again.
            journal.zeros = u64::MAX;
        }
    }
}

/// Returns the journal in use, which has the highest number.
fn newest(folder: &Path) -> Option<Journal> {
    let mut newest = None;
    for entry in std::fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem()?.to_str()?.parse::<u64>().ok()?;
            newest = newest.max(Some((number, path)));
        }
    }
    let (number, path) = newest?;
    let file = File::options().read(true).write(true).open(path).ok()?;
    let next = folder.join(format!("{}.jnl", number + 1));
    let mut journal = Journal {
        number,
        file,
        end: 0,
        zeros: 0,
        next,
    };
    journal.end = journal.hole()?;
    journal.zeros = journal.end;
    Some(journal)
}

impl Journal {
    /// Returns the offset of the file's first hole, or its end if it has none.
    fn hole(&self) -> Option<u64> {
        rustix::fs::seek(&self.file, SeekFrom::Hole(0)).ok()
    }

    fn lengthen(&mut self) -> Option<()> {
        let start = self.hole()?.next_multiple_of(PAGE);
        let length = self.file.metadata().ok()?.len();
        let end = (start + STRETCH).min(length);
        if start >= end {
            return None;
        }
        let mut at = start;
        while at < end {
            let piece = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            self.file.write_all_at(&ZEROS[..piece], at).ok()?;
            at += piece as u64;
        }
        self.zeros = end;
        tracing::trace!(journal = self.number, start, end, "written ahead");
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_written_only_into_the_hole_and_not_past_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.jnl");
        let file = File::create(&path).unwrap();
        file.set_len(3 << 20).unwrap();
        let data = vec![1; 10_000];
        file.write_all_at(&data, 0).unwrap();
        let mut runway = Runway::new(folder.path());
        for _ in 0..60 {
            runway.extend(60_000);
            let found = std::fs::read(&path).unwrap();
            assert_eq!(found.len(), 3 << 20);
            assert_eq!(found[..data.len()], data);
            assert!(found[data.len()..].iter().all(|byte| *byte == 0));
        }
        assert_eq!(runway.journal.as_ref().unwrap().zeros, u64::MAX);

        // A replayed journal ends with its data. It must not grow, because fjall appends to its
        // end.
        std::fs::write(folder.path().join("8.jnl"), &data).unwrap();
        runway.extend(5);
        runway.extend(5_000_000);
        runway.extend(5);
        assert_eq!(runway.journal.as_ref().unwrap().number, 8);
        assert_eq!(std::fs::read(folder.path().join("8.jnl")).unwrap(), data);
    }
}
