//! The locations of records in the segments of the journal that aren't in a sorted file yet. They are in
//! memory only: opening the log reads these segments.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use headwater_journal::{DiskFile, Place, Tail};

use super::format::commit::Commit;
use super::format::record;

/// Bytes of a segment after which another place is noted from which it can be read.
const MARK: u64 = 64 << 10;
/// Bytes of an open segment that are worth sealing it, to free what was removed of it.
const WORTH: u64 = 1 << 20;

/// A segment's file. It isn't used for another segment while a reader has this.
pub(crate) struct SegmentFile {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Its length.
    pub(crate) bytes: u64,
}

/// The location of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) head: record::Head,
    /// The offset of its bytes in the segment.
    pub(crate) offset: u32,
    pub(crate) sum: u32,
}

impl Run {
    fn end(&self, first: u64) -> u64 {
        first + u64::from(self.head.count)
    }
}

/// A record in a segment.
#[derive(Clone)]
pub(crate) struct Located {
    pub(crate) file: Arc<SegmentFile>,
    /// The offset of its first message.
    pub(crate) first: u64,
    pub(crate) run: Run,
}

/// The size of a record, or of consecutive records that are read as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// The offset of the first message.
    pub(crate) first: u64,
    /// The offset after the last message.
    pub(crate) end: u64,
    /// Bytes of the messages.
    pub(crate) bytes: u64,
}

/// A part of a segment, to read commits in their order.
pub(crate) struct Stretch {
    pub(crate) file: Arc<SegmentFile>,
    /// The offset of a frame.
    pub(crate) at: u64,
    /// The offset after the last frame.
    pub(crate) end: u64,
    /// The position after the last frame.
    pub(crate) next: u64,
}

/// The description of a segment, without its runs.
struct About {
    file: Arc<SegmentFile>,
    /// The positions of its messages.
    range: Range<u64>,
    /// The offset after the last frame.
    end: u64,
    /// Positions and the offsets of the frames that begin with them.
    marks: Vec<(u64, u64)>,
}

impl About {
    /// Returns the part with the commits from the one that contains `position` on.
    fn stretch(&self, position: u64) -> Option<Stretch> {
        if position >= self.range.end {
            return None;
        }
        let after = self.marks.partition_point(|(first, _)| *first <= position);
        let (_, at) = *self.marks.get(after.saturating_sub(1))?;
        Some(Stretch {
            file: Arc::clone(&self.file),
            at,
            end: self.end,
            next: self.range.end,
        })
    }
}

/// A segment to which nothing is added.
pub(crate) struct Sealed {
    about: About,
    /// The position after its last frame in the order of frames.
    after: Tail,
    /// By stream and first offset.
    runs: Box<[(u64, u64, Run)]>,
}

impl Sealed {
    pub(crate) fn file(&self) -> &Arc<SegmentFile> {
        &self.about.file
    }

    /// Returns the positions of its messages.
    pub(crate) fn range(&self) -> Range<u64> {
        self.about.range.clone()
    }

    /// Returns its records, by stream and first offset.
    pub(crate) fn runs(&self) -> &[(u64, u64, Run)] {
        &self.runs
    }

    /// Returns the position after its last frame in the order of frames.
    pub(crate) fn after(&self) -> Tail {
        self.after
    }

    fn from(&self, id: u64, at: u64) -> impl Iterator<Item = (u64, Run)> + '_ {
        let after = self
            .runs
            .partition_point(|(of, first, _)| (*of, *first) <= (id, at));
        let runs = self.runs[after.saturating_sub(1)..].iter();
        runs.skip_while(move |(of, ..)| *of < id)
            .take_while(move |(of, ..)| *of == id)
            .map(|(_, first, run)| (*first, *run))
    }
}

/// The segment to which commits are added.
struct Open {
    about: About,
    runs: BTreeMap<(u64, u64), Run>,
}

impl Open {
    fn from(&self, id: u64, at: u64) -> impl Iterator<Item = (u64, Run)> + '_ {
        let before = self.runs.range((id, 0)..=(id, at)).next_back();
        let start = before.map_or(at, |((_, first), _)| *first);
        self.runs
            .range((id, start)..=(id, u64::MAX))
            .map(|((_, first), run)| (*first, *run))
    }

    fn seal(self, after: Tail) -> Sealed {
        let runs = self.runs.into_iter();
        Sealed {
            about: self.about,
            after,
            runs: runs.map(|((id, first), run)| (id, first, run)).collect(),
        }
    }
}

/// The segments that aren't in a sorted file, and their records.
#[derive(Default)]
pub(crate) struct Segments {
    /// Oldest first.
    sealed: VecDeque<Arc<Sealed>>,
    open: Option<Open>,
}

impl Segments {
    /// Adds the records of a commit. `file` returns the file of the commit's segment, and `start` is the
    /// position before the commit in the order of frames.
    pub(crate) fn add(
        &mut self,
        commit: &Commit,
        place: Place,
        start: Tail,
        file: impl FnOnce() -> Arc<SegmentFile>,
    ) {
        let is_same = |open: &Open| open.about.file.number == place.segment;
        if !self.open.as_ref().is_some_and(is_same) {
            self.seal(start);
        }
        let open = self.open.get_or_insert_with(|| Open {
            about: About {
                file: file(),
                range: commit.position..commit.position,
                end: 0,
                marks: Vec::new(),
            },
            runs: BTreeMap::new(),
        });
        let marked = open.about.marks.last().map(|(_, offset)| *offset);
        if commit.count > 0 && marked.is_none_or(|marked| place.frame() >= marked + MARK) {
            open.about.marks.push((commit.position, place.frame()));
        }
        open.about.end = place.end();
        open.about.range.end = commit.position + commit.count;
        let mut offset = place.data();
        for part in &commit.parts {
            let run = Run {
                head: part.head,
                // A segment is as long as its largest frame, which the limits keep far below 4 GiB.
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                sum: part.sum,
            };
            open.runs.insert((part.id, part.first), run);
            offset += u64::from(part.head.length);
        }
    }

    /// Seals the open segment: the next commit is in another one. `after` is the position between them
    /// in the order of frames.
    pub(crate) fn seal(&mut self, after: Tail) {
        if let Some(open) = self.open.take() {
            self.sealed.push_back(Arc::new(open.seal(after)));
        }
    }

    /// Returns the sealed segments, oldest first.
    pub(crate) fn sealed(&self) -> impl ExactSizeIterator<Item = &Arc<Sealed>> {
        self.sealed.iter()
    }

    /// Returns `true` if the open segment has enough data that it is worth sealing early.
    pub(crate) fn is_open_worth(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.about.end >= WORTH)
    }

    /// Returns the bytes of all frames, and the bytes of the open segment after its last frame.
    pub(crate) fn unsorted(&self) -> (u64, u64) {
        let sealed = self.sealed.iter().map(|sealed| sealed.about.end);
        let open = self.open.as_ref().map(|open| &open.about);
        let frames = sealed.chain(open.map(|about| about.end)).sum();
        let unused = open.map_or(0, |about| about.file.bytes.saturating_sub(about.end));
        (frames, unused)
    }

    /// Returns the file of the open segment, and the offset after its last frame.
    pub(crate) fn open_file(&self) -> Option<(Arc<SegmentFile>, u64)> {
        let about = &self.open.as_ref()?.about;
        Some((Arc::clone(&about.file), about.end))
    }

    /// Returns the bytes of all messages.
    pub(crate) fn bytes(&self) -> u64 {
        let sealed = self.sealed.iter().flat_map(|it| it.runs.iter());
        let sealed = sealed.map(|(.., run)| u64::from(run.head.bytes));
        let open = self.open.iter().flat_map(|it| it.runs.values());
        let open = open.map(|run| u64::from(run.head.bytes));
        sealed.chain(open).sum()
    }

    /// Removes the oldest sealed segments, which are in a sorted file now.
    pub(crate) fn remove(&mut self, count: usize) -> Vec<Arc<Sealed>> {
        self.sealed.drain(..count).collect()
    }

    /// Returns the consecutive records of a stream from the one that contains `at` to `until`, of about
    /// `budget` bytes and at most `most`. None, if that one isn't in these segments.
    pub(crate) fn find(
        &self,
        id: u64,
        at: u64,
        until: u64,
        budget: usize,
        most: usize,
    ) -> Vec<Located> {
        let budget = budget as u64;
        let locate = |file: &Arc<SegmentFile>, first, run| Located {
            file: Arc::clone(file),
            first,
            run,
        };
        self.collect(id, at, until, budget, most, locate)
    }

    /// Returns the sizes of consecutive records, as [`find`](Self::find) returns their places.
    pub(crate) fn sizes(
        &self,
        id: u64,
        at: u64,
        until: u64,
        budget: u64,
        most: usize,
    ) -> Vec<Size> {
        self.collect(id, at, until, budget, most, |_, first, run| Size {
            first,
            end: run.end(first),
            bytes: run.head.bytes.into(),
        })
    }

    fn collect<T>(
        &self,
        id: u64,
        at: u64,
        until: u64,
        budget: u64,
        most: usize,
        make: impl Fn(&Arc<SegmentFile>, u64, Run) -> T,
    ) -> Vec<T> {
        let mut found = Found {
            found: Vec::new(),
            next: at,
            until,
            budget,
            most,
        };
        for sealed in &self.sealed {
            let runs = sealed.from(id, found.next);
            if !found.take(runs, |first, run| make(&sealed.about.file, first, run)) {
                return found.found;
            }
        }
        if let Some(open) = &self.open {
            let runs = open.from(id, found.next);
            found.take(runs, |first, run| make(&open.about.file, first, run));
        }
        found.found
    }

    /// Returns the parts of the segments with the commits from the one that contains `position` on.
    pub(crate) fn stretches(&self, position: u64) -> Vec<Stretch> {
        let sealed = self.sealed.iter().map(|sealed| &sealed.about);
        let open = self.open.iter().map(|open| &open.about);
        let all = sealed.chain(open);
        all.filter_map(|about| about.stretch(position.max(about.range.start)))
            .collect()
    }

    /// Returns the number of records in sealed segments, and the bytes of their files.
    pub(crate) fn backlog(&self) -> (usize, u64) {
        let runs = self.sealed.iter().map(|sealed| sealed.runs.len()).sum();
        let bytes = self.sealed.iter().map(|sealed| sealed.about.file.bytes);
        (runs, bytes.sum())
    }
}

/// Consecutive records that were found so far.
struct Found<T> {
    found: Vec<T>,
    next: u64,
    until: u64,
    budget: u64,
    most: usize,
}

impl<T> Found<T> {
    /// Adds the records that continue those before. Returns `false` if no more are wanted.
    fn take(
        &mut self,
        runs: impl Iterator<Item = (u64, Run)>,
        make: impl Fn(u64, Run) -> T,
    ) -> bool {
        for (first, run) in runs {
            if run.end(first) <= self.next {
                continue;
            }
            let is_next = match self.found.is_empty() {
                true => first <= self.next,
                false => first == self.next,
            };
            if !is_next {
                break;
            }
            self.next = run.end(first);
            self.found.push(make(first, run));
            self.budget = self.budget.saturating_sub(run.head.length.into());
            if self.budget == 0 || self.next >= self.until || self.found.len() == self.most {
                return false;
            }
        }
        true
    }
}
