//! Zeros ahead of the journal's end.
//!
//! fjall makes a journal as 64 MiB of hole. Syncing what is written into a hole makes the file
//! system write down each time where the new blocks are, which takes about as long as the data
//! itself. So blocks are written ahead, a stretch at a time: what comes there later is an
//! overwrite. To fjall zeros are what a hole is: the end of the journal.
//!
//! The writer alone adds to the journal, and it is the writer's thread that does this between two
//! commits, only in what is still a hole, and never past the file's end. So it can't touch data. A
//! journal that was replayed has no room behind its data, and is left alone.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

/// How much is written ahead at a time.
const STRETCH: u64 = 1 << 20;
/// How close the journal's end may come to where the zeros end before more are written.
const MARGIN: u64 = 128 << 10;
/// A commit of more than this takes long for what is in it, not for where it goes.
const LARGE: u64 = 64 << 10;
/// Zeros start on a page of their own.
const PAGE: u64 = 4096;

pub(crate) struct Runway {
    folder: PathBuf,
    journal: Option<Journal>,
}

struct Journal {
    number: u64,
    file: File,
    /// Where the journal ends, or somewhat later.
    end: u64,
    /// Up to where it has blocks.
    zeros: u64,
    /// The next file, which is there as soon as this one is done with.
    next: PathBuf,
}

impl Runway {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            journal: None,
        }
    }

    /// Makes way for about `bytes` of journal. Whatever goes wrong only makes syncing slower.
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
            // Nothing to be gained in this file: it isn't looked at again.
            journal.zeros = u64::MAX;
        }
    }
}

/// The journal in use: the one with the greatest number.
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
    /// Where the file's first hole starts; its end, if it has none.
    fn hole(&self) -> Option<u64> {
        rustix::fs::seek(&self.file, SeekFrom::Hole(0)).ok()
    }

    fn lengthen(&mut self) -> Option<()> {
        let start = self.hole()?.next_multiple_of(PAGE);
        let length = self.file.metadata().ok()?.len();
        let end = (start + STRETCH).min(length);
        let zeros = vec![0; usize::try_from(end.checked_sub(start)?).ok()?];
        if zeros.is_empty() {
            return None;
        }
        self.file.write_all_at(&zeros, start).ok()?;
        self.zeros = end;
        tracing::trace!(journal = self.number, start, end, "written ahead");
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_go_into_the_hole_only_and_not_past_the_end() {
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

        // A replayed journal ends with its data. It must not grow: fjall adds to its end.
        std::fs::write(folder.path().join("8.jnl"), &data).unwrap();
        runway.extend(5);
        runway.extend(5_000_000);
        runway.extend(5);
        assert_eq!(runway.journal.as_ref().unwrap().number, 8);
        assert_eq!(std::fs::read(folder.path().join("8.jnl")).unwrap(), data);
    }
}
