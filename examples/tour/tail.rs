//! Follows a growing log file through all kinds of rotation.
//!
//! - Renamed and replaced by a new file: the old file is read to its end, then the new one from its
//!   beginning. If its last line is incomplete, its writer has [`PATIENCE`] to complete it. After
//!   that, the end of the file ends the line, which is marked as truncated. Files that are created
//!   in the meantime are opened at once, so they may be renamed or deleted before they are read.
//! - Copied and truncated: reading continues at the beginning. A line that was incomplete is lost
//!   with the truncation, and the first line after it, which may be its rest, is marked as
//!   truncated. So is a line that the truncation cut, if its writer continues it. A file that grows
//!   beyond the old length within one poll is recognised by the bytes before the reader's position.
//!   A reconnecting reader sends a hash of these bytes.
//! - Missing, at first or for a while: the reader waits for it, and its whole content is new.
//!
//! # Limits
//! The file is checked by its name, every [`POLL`] and as fast as the client reads. If several
//! rotations occur between two checks or since a reader's position, the files are found if they are
//! renamed by number (`app.log` to `app.log.1`, that to `app.log.2`, up to [`MAX_FILES`]). A file
//! that was created and then renamed otherwise, compressed or deleted between two checks is lost. A
//! truncation within a line isn't detected if both the start of the line and its rest are written
//! between two checks: the rest then appears as a separate line.
//!
//! Memory is bounded: one buffer of [`READ_BYTES`] and one line of [`MAX_LINE_BYTES`] for each
//! reader, and about [`MAX_FILES`] open files.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant, SystemTime},
};

use futures_core::Stream;
use futures_util::{TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;

/// Interval between two checks of an idle file.
const POLL: Duration = Duration::from_millis(200);
/// Time that a writer has to complete a line in a renamed file.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum number of files that wait behind the one being read, and the highest number in a rotated
/// file's name.
const MAX_FILES: usize = 16;
/// Number of bytes before a position that identify it.
const RECENT_BYTES: usize = 256;
/// Maximum length of a returned line, in bytes. The rest of a longer line is omitted.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;
/// Bytes to read at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes at the end of a file that are searched for its last lines.
const MAX_LOOK_BACK_BYTES: u64 = 64 * 1024 * 1024;

/// One complete line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Line {
    /// Number of the line, from 1 for the reader's first.
    pub(crate) line: u64,
    /// Text without its line end. Invalid UTF-8 is replaced by U+FFFD.
    pub(crate) text: String,
    /// `true` if the line may be incomplete: it is longer than [`MAX_LINE_BYTES`], the file was
    /// renamed before its end, or the file was truncated within it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
}

/// The end of a line, from which a reader resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    file: FileId,
    offset: u64,
    line: u64,
    /// Hash of the bytes before `offset`.
    hash: u64,
}

/// The identity of a file, independent of its name. It is unique while the file is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl From<&fs::Metadata> for FileId {
    fn from(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file: FileId { device, inode },
            offset,
            line,
            hash,
        } = self;
        write!(f, "{device}-{inode}-{offset}-{line}-{hash}")
    }
}

/// The error of a text that is not a [`Position`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let numbers: Result<Vec<u64>, _> = text.split('-').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[device, inode, offset, line, hash]) => Ok(Self {
                file: FileId { device, inode },
                offset,
                line,
                hash,
            }),
            _ => Err(NotAPosition),
        }
    }
}

/// The position at which a reader starts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// At the last complete lines, of which there are at most this many.
    Last(usize),
    /// After the line that a reader received last, even if its file was renamed by number since. At
    /// the beginning, if no file contains that line or the file was truncated since.
    After(Position),
    /// At the beginning.
    Beginning,
}

/// Returns an endless stream of the lines of the file at `path`.
///
/// # Errors
/// The file can't be read or is not a regular file. The error is the last item.
pub(crate) fn follow(
    path: PathBuf,
    start: Start,
) -> impl Stream<Item = io::Result<(Position, Line)>> {
    stream::try_unfold(Tail::new(path, start), async |mut tail| {
        loop {
            // Disks may be slow, so reading is on a blocking thread.
            let read = tokio::task::spawn_blocking(move || (tail.read(), tail));
            let lines;
            (lines, tail) = read.await.map_err(io::Error::other)?;
            match lines? {
                Some(lines) => {
                    let lines = stream::iter(lines.into_iter().map(io::Result::Ok));
                    return io::Result::Ok(Some((lines, tail)));
                }
                None => tokio::time::sleep(POLL).await,
            }
        }
    })
    .try_flatten()
}

struct Tail {
    path: PathBuf,
    start: Start,
    /// The file being read, then its successors in order.
    files: VecDeque<Open>,
    /// Number of lines returned.
    lines: u64,
    buffer: Box<[u8]>,
    patience: Duration,
}

struct Open {
    file: File,
    id: FileId,
    /// Position up to which it is read.
    offset: u64,
    /// The last bytes before that, up to [`RECENT_BYTES`].
    recent: Vec<u8>,
    line: PartialLine,
    /// Position at which `line` begins.
    line_offset: u64,
    /// Length of the file when its truncation was detected. A line across this position combines a
    /// cut line with later text.
    cut: u64,
    /// Time since which it has not grown although another file has replaced it.
    replaced: Option<Instant>,
}

/// The bytes of an incomplete line.
#[derive(Default)]
struct PartialLine {
    bytes: Vec<u8>,
    truncated: bool,
    /// If `true`, it may be the rest of a line whose start was truncated.
    fragment: bool,
    /// If `true`, the line is not returned, because reading began inside it.
    skip: bool,
}

impl Tail {
    fn new(path: PathBuf, start: Start) -> Self {
        Self {
            path,
            start,
            files: VecDeque::new(),
            lines: 0,
            buffer: vec![0; READ_BYTES].into(),
            patience: PATIENCE,
        }
    }

    /// Reads at most one buffer. Returns `None` if there was nothing to read.
    fn read(&mut self) -> io::Result<Option<Vec<(Position, Line)>>> {
        if self.files.is_empty() {
            self.files = self.open_first()?;
            return Ok((!self.files.is_empty()).then(Vec::new));
        }
        let looked = self.look_for_new_files();
        let is_replaced = self.files.len() > 1;
        let is_full = self.files.len() > MAX_FILES;
        let open = &mut self.files[0];
        let read = open.file.read_at(&mut self.buffer, open.offset)?;
        let mut lines = Vec::new();
        // Checked after the read: if the file was truncated before it, the bytes belong to another
        // position.
        if !open.is_same()? {
            open.restart_truncated()?;
            return Ok(Some(lines));
        }
        if read > 0 {
            open.replaced = None;
            open.split(&self.buffer[..read], &mut self.lines, &mut lines);
            return Ok(Some(lines));
        }
        looked?;
        if !is_replaced {
            open.replaced = None;
            return Ok(None);
        }
        // The writer may still write to the old file for a moment: the file is checked once more,
        // and an incomplete line has time to be completed.
        let Some(since) = open.replaced else {
            open.replaced = Some(Instant::now());
            return Ok(None);
        };
        if open.has_unfinished_line() && since.elapsed() < self.patience && !is_full {
            return Ok(None);
        }
        open.end(&mut self.lines, &mut lines);
        self.files.pop_front();
        Ok(Some(lines))
    }

    /// Opens the files that replaced the newest one, before they can be renamed or deleted.
    fn look_for_new_files(&mut self) -> io::Result<()> {
        let Some(newest) = self.files.back().map(|open| open.id) else {
            return Ok(());
        };
        match metadata(&self.path)? {
            Some(metadata)
                if FileId::from(&metadata) != newest && self.files.len() <= MAX_FILES => {}
            _ => return Ok(()),
        }
        let Some(new) = Open::at(&self.path)? else {
            return Ok(());
        };
        let rotated = rotated_since(&self.path, newest);
        for open in rotated.into_iter().skip(1).chain([new]) {
            // A file that returned to its old name keeps its position.
            let known = self.files.iter().position(|known| known.id == open.id);
            let known = known.and_then(|known| self.files.remove(known));
            self.files.push_back(known.unwrap_or(open));
        }
        Ok(())
    }

    fn open_first(&mut self) -> io::Result<VecDeque<Open>> {
        let Some(mut open) = Open::at(&self.path)? else {
            if let Start::Last(_) = self.start {
                self.start = Start::Beginning;
            }
            return Ok(VecDeque::new());
        };
        let length = open.file.metadata()?.len();
        match self.start {
            Start::Beginning => {}
            Start::Last(count) => match start_of_last_lines(&open.file, length, count)? {
                Some(offset) => open.go_to(offset)?,
                None => {
                    open.go_to(length)?;
                    open.line.skip = true;
                }
            },
            Start::After(seen) => {
                self.lines = seen.line;
                if seen.file == open.id {
                    open.resume(seen)?;
                } else {
                    let mut files = VecDeque::from(rotated_since(&self.path, seen.file));
                    if let Some(oldest) = files.front_mut()
                        && oldest.resume(seen)?
                    {
                        files.retain(|rotated| rotated.id != open.id);
                        files.push_back(open);
                        return Ok(files);
                    }
                }
            }
        }
        Ok(VecDeque::from([open]))
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Option<Self>> {
        // Checked before opening: opening a named pipe would wait for its writer.
        if metadata(path)?.is_none() {
            return Ok(None);
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = FileId::from(&file.metadata()?);
        Ok(Some(Self {
            file,
            id,
            offset: 0,
            recent: Vec::new(),
            line: PartialLine::default(),
            line_offset: 0,
            cut: 0,
            replaced: None,
        }))
    }

    /// Moves to a position of this file. Returns `true` if the position is still valid. Otherwise
    /// the file is read from its beginning.
    fn resume(&mut self, seen: Position) -> io::Result<bool> {
        if seen.offset > self.file.metadata()?.len() {
            return Ok(false);
        }
        self.go_to(seen.offset)?;
        let is_there = self.offset == seen.offset && hash(&self.recent) == seen.hash;
        if !is_there {
            self.restart();
        }
        Ok(is_there)
    }

    /// Moves to `offset`, at which a line begins. If the file was truncated meanwhile, moves to its
    /// beginning.
    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        let recent =
            usize::try_from(offset).map_or(RECENT_BYTES, |offset| offset.min(RECENT_BYTES));
        let mut bytes = vec![0; recent];
        match self.file.read_exact_at(&mut bytes, offset - recent as u64) {
            Ok(()) => {
                self.recent = bytes;
                self.offset = offset;
                self.line_offset = offset;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.restart();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns `true` if the last bytes read, and the whole incomplete line, are still in the file.
    fn is_same(&self) -> io::Result<bool> {
        Ok(
            self.has(&self.recent, self.offset - self.recent.len() as u64)?
                && self.has(&self.line.bytes, self.line_offset)?,
        )
    }

    fn has(&self, expected: &[u8], offset: u64) -> io::Result<bool> {
        let mut bytes = vec![0; expected.len()];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes == expected),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Moves to the beginning of the file.
    fn restart(&mut self) {
        self.offset = 0;
        self.recent.clear();
        self.line = PartialLine::default();
        self.line_offset = 0;
    }

    /// Moves to the beginning of the file after a truncation.
    fn restart_truncated(&mut self) -> io::Result<()> {
        let was_inside_a_line = !self.line.bytes.is_empty() || self.line.skip;
        self.restart();
        self.line.fragment = was_inside_a_line;
        self.cut = self.file.metadata()?.len();
        Ok(())
    }

    /// Returns the time of the last write, if the system reports it.
    fn written(&self) -> Option<SystemTime> {
        self.file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    }

    fn has_unfinished_line(&self) -> bool {
        !self.line.bytes.is_empty() && !self.line.skip
    }

    /// Records bytes as the last ones read.
    fn remember(&mut self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(RECENT_BYTES)..];
        let too_many = (self.recent.len() + last.len()).saturating_sub(RECENT_BYTES);
        self.recent.drain(..too_many);
        self.recent.extend_from_slice(last);
        self.offset += bytes.len() as u64;
    }

    /// Processes the next bytes of the file.
    fn split(&mut self, bytes: &[u8], count: &mut u64, lines: &mut Vec<(Position, Line)>) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.remember(piece);
            match piece.strip_suffix(b"\n") {
                None => self.line.push(piece),
                Some(piece) => {
                    self.line.push(piece);
                    self.give(count, lines);
                }
            }
        }
    }

    /// Ends the last line at the end of the file.
    fn end(&mut self, count: &mut u64, lines: &mut Vec<(Position, Line)>) {
        if !self.line.bytes.is_empty() {
            self.line.truncated = true;
            self.give(count, lines);
        }
    }

    fn give(&mut self, count: &mut u64, lines: &mut Vec<(Position, Line)>) {
        self.line.fragment |= self.line_offset < self.cut && self.cut < self.offset;
        self.line_offset = self.offset;
        if let Some((text, truncated)) = std::mem::take(&mut self.line).finish() {
            *count += 1;
            let position = Position {
                file: self.id,
                offset: self.offset,
                line: *count,
                hash: hash(&self.recent),
            };
            lines.push((
                position,
                Line {
                    line: *count,
                    text,
                    truncated,
                },
            ));
        }
    }
}

impl PartialLine {
    fn push(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(mut self) -> Option<(String, bool)> {
        if self.skip {
            return None;
        }
        if self.truncated {
            self.cut_back_to_a_whole_character();
        } else if self.bytes.ends_with(b"\r") {
            self.bytes.pop();
        }
        Some((
            String::from_utf8_lossy(&self.bytes).into_owned(),
            self.truncated || self.fragment,
        ))
    }

    fn cut_back_to_a_whole_character(&mut self) {
        let is_first = |byte: &u8| !(0x80..0xC0).contains(byte);
        if let Some(last) = self.bytes.iter().rposition(is_first) {
            // The number of leading ones of a multi-byte character's first byte is the character's
            // length.
            if self.bytes.len() - last < self.bytes[last].leading_ones() as usize {
                self.bytes.truncate(last);
            }
        }
    }
}

/// FNV-1a: stable across builds, because clients send the hash back.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Returns the metadata of the file at `path`, if it exists.
fn metadata(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(_) => Err(io::Error::other(format!(
            "{} is no regular file",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the files that were renamed by number, of which `path.1` is the latest: `oldest`, then
/// its successors. Returns none if `oldest` isn't among them.
fn rotated_since(path: &Path, oldest: FileId) -> Vec<Open> {
    let mut newer = Vec::new();
    for number in 1..=MAX_FILES {
        let mut name = OsString::from(path);
        name.push(format!(".{number}"));
        // A number is missing for a moment while a rotation is in progress.
        let Ok(Some(open)) = Open::at(Path::new(&name)) else {
            continue;
        };
        let is_oldest = open.id == oldest;
        newer.push(open);
        if is_oldest {
            newer.reverse();
            // A file that was last written before `oldest` was has its name from an earlier
            // rotation.
            let written = newer[0].written();
            newer.retain(|open| open.written() >= written);
            return newer;
        }
    }
    Vec::new()
}

/// Returns the start of the last `count` complete lines, or of as many as are near enough to the
/// end. Returns `None` if no line ends near it.
fn start_of_last_lines(file: &File, length: u64, count: usize) -> io::Result<Option<u64>> {
    let floor = length.saturating_sub(MAX_LOOK_BACK_BYTES);
    let mut buffer = vec![0; READ_BYTES];
    let mut end = length;
    // Position after the line end that was found last, going backwards. The first one is the end of
    // the last line.
    let mut start = None;
    let mut line_ends = 0;
    while end > floor {
        let size = usize::try_from(end - floor)
            .unwrap_or(usize::MAX)
            .min(READ_BYTES);
        let block = &mut buffer[..size];
        let from = end - size as u64;
        match file.read_exact_at(block, from) {
            // It was truncated in the meantime: its whole content is new.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(0)),
            result => result?,
        }
        for at in (0..size).rev().filter(|&at| block[at] == b'\n') {
            start = Some(from + at as u64 + 1);
            line_ends += 1;
            if line_ends > count {
                return Ok(start);
            }
        }
        end = from;
    }
    Ok(if floor == 0 { Some(0) } else { start })
}

#[cfg(test)]
mod tests;
