//! Opening of a journal: its frames are read and checked, from a checkpoint on.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use crate::{
    disk::Disk,
    frame::{PREFIX, Prefix, Seed},
    journal::{Journal, Place, SEGMENT_BYTES, Tail},
    segment::{HEADER, Header, segment_name, segment_number},
    spares::Spares,
};

/// The settings of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Maximum length of a new segment in bytes, at least 8 KiB. Default: [`SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// The first frame that was not synced before the next one was written, if there is any. From it
    /// on, a crash of the machine may have lost any frame. Default: `None`.
    pub loose_from: Option<u64>,
    /// The last frame that must exist. Default: 0, none.
    pub required: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            loose_from: None,
            required: 0,
        }
    }
}

impl Options {
    /// Returns `true` if the next frame may be missing although later ones exist.
    fn is_loose(&self, tail: Tail) -> bool {
        self.loose_from.is_some_and(|loose| tail.next >= loose)
    }
}

/// The start of a segment, from which a journal can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of the segment, or of a later one if none was written since: the first that may
    /// have a frame from `tail` on.
    pub segment: u64,
    /// The position of its first frame.
    pub tail: Tail,
}

/// A frame that was found.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its number.
    pub number: u64,
    /// Its location.
    pub place: Place,
    /// The position before it.
    pub tail: Tail,
    /// The head. Its checksum is right.
    pub head: &'a [u8],
    /// The data. The journal doesn't check it.
    pub data: &'a [u8],
}

/// A report on the opening of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Number of frames that were visited.
    pub frames: u64,
    /// Numbers of the segments with frames, also of those before the checkpoint.
    pub segments: Vec<u64>,
    /// The segment of the last frame and the offset after it, if there is a segment. The remains of
    /// a torn frame may follow.
    pub end: Option<(u64, u64)>,
}

/// The error of a journal that can't be opened. No frame was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A frame that must exist is missing or differs from what was written.
    #[error("segment {segment} is damaged at byte {offset}, where frame {frame} should be")]
    Damaged {
        /// The number of the segment.
        segment: u64,
        /// The offset in it.
        offset: u64,
        /// The number of the frame.
        frame: u64,
    },
    /// Frames at the end that must exist are missing or differ from what was written.
    #[error("frames {first} to {last} are missing from the end")]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] io::Error),
}

/// Opens the journal `identity` in a folder, or starts one there.
///
/// It calls `visit` with each frame from the checkpoint on, in order. Without a checkpoint, that is
/// from the first one. `visit` returns `false` if the frame's data is not what was written, by
/// checksums in its head.
///
/// The end is where no valid frame follows. The remains of a frame that a crash cut off are ignored.
/// All frames that are found are durable afterwards. The next frame starts a new segment. Files of
/// segments that contain nothing are removed.
///
/// # Errors
/// [`OpenError`]. A frame that isn't valid is damage, and not the end, if a valid one follows it,
/// unless it is from [`loose_from`](Options::loose_from) on.
pub fn open(
    disk: &Arc<dyn Disk>,
    identity: u64,
    options: &Options,
    from: Option<Checkpoint>,
    mut visit: impl FnMut(Frame<'_>) -> bool,
) -> Result<(Journal, Found), OpenError> {
    let opening = Opening {
        disk: &**disk,
        identity,
        options,
        from,
    };
    let (numbers, used) = opening.headers()?;
    let mut found = Found {
        segments: used.iter().map(|header| header.number).collect(),
        ..Found::default()
    };
    let start = from.map_or(0, |from| from.segment);
    let scanned = used.partition_point(|header| header.number < start);
    let scanned = &used[scanned..];
    let mut tail = opening.start(scanned.first())?;
    for (at, header) in scanned.iter().enumerate() {
        let after = scanned.get(at + 1).map(Header::tail);
        tail = opening.pass(header, tail, after, &mut found, &mut visit)?;
    }
    if tail.next <= options.required {
        return Err(OpenError::Missing {
            first: tail.next,
            last: options.required,
        });
    }
    opening.remove_unused(&numbers, &used, tail)?;
    let bytes = options.segment_bytes.max(2 * HEADER as u64);
    // Numbers are never used again, also those of removed files.
    let next = numbers.last().map_or(1, |last| last + 1).max(start);
    let spares = Arc::new(Spares::new(Arc::clone(disk), bytes, next));
    Ok((Journal::new(identity, spares, tail), found))
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    identity: u64,
    options: &'a Options,
    from: Option<Checkpoint>,
}

impl Opening<'_> {
    /// Returns the numbers of all segments, and the headers of those that are used, in order.
    fn headers(&self) -> io::Result<(Vec<u64>, Vec<Header>)> {
        let names = self.disk.list()?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment_number(name))
            .collect();
        numbers.sort_unstable();
        let mut used = Vec::new();
        for &number in &numbers {
            let file = self.disk.open(&segment_name(number))?;
            if file.length()? < HEADER as u64 {
                continue;
            }
            let mut bytes = [0; HEADER];
            file.read_at(&mut bytes, 0)?;
            used.extend(Header::decode(&bytes, number, self.identity));
        }
        Ok((numbers, used))
    }

    /// Returns the place in the order at which the first segment to read must start.
    fn start(&self, first: Option<&Header>) -> Result<Tail, OpenError> {
        match (self.from, first) {
            (None, None) => Ok(FIRST),
            (None, Some(first)) if first.tail() == FIRST => Ok(FIRST),
            (None, Some(first)) => Err(damaged(first.number, 0, FIRST.next)),
            (Some(from), None) => Ok(from.tail),
            (Some(from), Some(first)) if first.tail() == from.tail => Ok(from.tail),
            (Some(from), Some(first)) => Err(damaged(first.number, 0, from.tail.next)),
        }
    }

    /// Reads a segment's frames. `after` is the place at which the next segment starts, if there is
    /// one. Returns the place after the last frame.
    fn pass(
        &self,
        header: &Header,
        tail: Tail,
        after: Option<Tail>,
        found: &mut Found,
        visit: &mut impl FnMut(Frame<'_>) -> bool,
    ) -> Result<Tail, OpenError> {
        let content = read(self.disk, header.number)?;
        let mut scan = Scan::new(header, &content, tail);
        // Frames that were given up may follow.
        let end = after.map_or(u64::MAX, |after| after.next);
        while scan.tail.next < end {
            let Some(frame) = scan.frame() else { break };
            if !visit(frame) {
                break;
            }
            found.frames += 1;
            scan.skip(frame.place);
        }
        let tail = scan.tail;
        let is_damaged = match after {
            Some(after) => after != tail,
            None => !self.options.is_loose(tail) && scan.has_later_frame(scan.at + 1),
        };
        if is_damaged {
            return Err(damaged(header.number, scan.at as u64, tail.next));
        }
        if after.is_none() {
            found.end = Some((header.number, scan.at as u64));
            // An earlier process may have written it without a sync, or with one that failed, after
            // which the kernel takes the data for written. So it is written once more.
            let file = self.disk.open(&segment_name(header.number))?;
            file.write_at(&mut [IoSlice::new(&content[..scan.at])], 0)?;
            file.sync()?;
        }
        Ok(tail)
    }

    /// Removes the segments without a valid header. `tail` is the end of the journal.
    fn remove_unused(&self, numbers: &[u64], used: &[Header], tail: Tail) -> Result<(), OpenError> {
        let last = used.last().map_or(0, |header| header.number);
        let is_used = |number: &u64| used.iter().any(|header| header.number == *number);
        for &number in numbers.iter().filter(|number| !is_used(number)) {
            // The first frame of a segment is written with its header, so both can be torn. A later
            // one was written after both were synced, so the header is damaged.
            if number > last && !self.options.is_loose(tail) {
                let content = read(self.disk, number)?;
                let header = Header {
                    number,
                    identity: self.identity,
                    first: tail.next,
                    link: tail.link,
                };
                if Scan::new(&header, &content, tail).has_later_frame(HEADER + 1) {
                    return Err(damaged(number, 0, tail.next));
                }
            }
            self.disk.remove(&segment_name(number))?;
        }
        self.disk.sync()?;
        Ok(())
    }
}

/// The start of a journal.
const FIRST: Tail = Tail { next: 1, link: 0 };

impl Header {
    /// Returns the place of the segment's first frame in the order.
    fn tail(&self) -> Tail {
        Tail {
            next: self.first,
            link: self.link,
        }
    }
}

fn damaged(segment: u64, offset: u64, frame: u64) -> OpenError {
    OpenError::Damaged {
        segment,
        offset,
        frame,
    }
}

/// Returns the content of a segment.
fn read(disk: &dyn Disk, number: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(&segment_name(number))?;
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    let mut content = vec![0; length];
    file.read_at(&mut content, 0)?;
    Ok(content)
}

/// A pass over the frames of a segment.
struct Scan<'a> {
    header: &'a Header,
    content: &'a [u8],
    /// The offset of the next frame.
    at: usize,
    tail: Tail,
}

impl<'a> Scan<'a> {
    fn new(header: &'a Header, content: &'a [u8], tail: Tail) -> Self {
        Self {
            header,
            content,
            at: HEADER,
            tail,
        }
    }

    /// Returns the frame at the current offset, if it is valid and follows the one before.
    fn frame(&self) -> Option<Frame<'a>> {
        let prefix = self.prefix(self.at)?;
        let start = self.at + PREFIX;
        let body = self.content.get(start..start + size(prefix.body))?;
        let (head, data) = body.split_at_checked(size(prefix.head))?;
        (prefix.link == self.tail.link).then_some(Frame {
            number: self.tail.next,
            tail: self.tail,
            place: Place {
                segment: self.header.number,
                offset: start as u64,
                head: prefix.head,
                body: prefix.body,
            },
            head,
            data,
        })
    }

    /// Continues after a frame at the current offset.
    fn skip(&mut self, place: Place) {
        if let Some(prefix) = self.prefix(self.at) {
            self.tail = Tail {
                next: self.tail.next + 1,
                link: prefix.next_link(),
            };
        }
        self.at += PREFIX + size(place.body);
    }

    /// Returns the prefix at an offset, if it is that of a frame whose head is there. It can be any
    /// frame of this segment.
    fn prefix(&self, at: usize) -> Option<Prefix> {
        let (bytes, rest) = self.content.get(at..)?.split_first_chunk()?;
        let prefix = Prefix::decode(bytes, rest.len())?;
        let seed = Seed {
            identity: self.header.identity,
            segment: self.header.number,
            offset: at as u64,
        };
        let head = rest.get(..size(prefix.head))?;
        prefix.matches(head, seed).then_some(prefix)
    }

    /// Returns `true` if there is a frame at this offset or later, whatever it follows.
    fn has_later_frame(&self, from: usize) -> bool {
        let zeros = self.content.iter().rev().take_while(|byte| **byte == 0);
        let end = self.content.len() - zeros.count();
        (from..end).any(|at| self.prefix(at).is_some())
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
