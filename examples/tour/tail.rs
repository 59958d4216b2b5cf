//! Follows a log file that grows, through every kind of rotation.
//!
//! - Renamed, and a new file made in its place: the old file is read to its end, then the new one from
//!   its beginning. If its last line has no end yet, its writer has [`PATIENCE`] to write the rest;
//!   after that the end of the file ends the line, which is marked as truncated. Files that are made in the
//!   meantime are opened at once, so they can be renamed or deleted before it is their turn.
//! - Copied and truncated: reading goes on at the beginning. A line that was still unfinished went
//!   with the truncation, and the first line after it, which may be its rest, is marked as truncated. So is a
//!   line that the truncation cut, if its writer continues it. A file that grows past the old length within
//!   one poll is known by what stands before the place that was read to, and a reader that reconnects
//!   brings a hash of that.
//! - Missing, at first or for a while: it is waited for, and all that it then holds is new.
//!
//! # Limits
//! The file is looked at by its name, every [`POLL`] and as fast as the client reads. Of several rotations between
//! two looks, and of those since a reader's position, the files are found if they are renamed by number
//! (`app.log` to `app.log.1`, that to `app.log.2`, up to [`MAX_FILES`]). A file that was made and then got any other
//! name, was compressed or was deleted between two looks is lost. A truncation in mid-line isn't
//! noticed as such if both the start of the line and its rest are written between two looks: the rest
//! then is a line of its own.
//!
//! Memory is bounded: one buffer of [`READ_BYTES`] and one line of [`MAX_LINE_BYTES`] for each reader, and about
//! [`MAX_FILES`] open files.

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

/// How often the file is looked at when there is nothing to read.
const POLL: Duration = Duration::from_millis(200);
/// How long a writer has to finish a line in a file that was renamed.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most files that wait behind the one that is read, and the highest number in the name of a rotated file
/// that is looked for.
const MAX_FILES: usize = 16;
/// How many bytes before a place tell whether it is still the place that it was.
const RECENT_BYTES: usize = 256;
/// The most bytes of one line that are given; the rest of the line is left out.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// How far back from its end a file is searched for the lines to begin with.
const MAX_LOOK_BACK_BYTES: u64 = 64 * 1024 * 1024;

/// One complete line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Line {
    /// Its number, counted from 1 where the reader began.
    pub(crate) line: u64,
    /// Without its line end; what isn't UTF-8 is U+FFFD.
    pub(crate) text: String,
    /// True if this may not be the whole line: it is longer than [`MAX_LINE_BYTES`], the file was renamed before its
    /// end, or the file was truncated in the middle of a line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
}

/// Where a line ended: what a reader says to go on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    file: FileId,
    offset: u64,
    line: u64,
    /// Of the bytes that stand before `offset`.
    hash: u64,
}

/// A file under whatever name. It stays unique for as long as somebody has the file open.
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

/// The text is not a [`Position`].
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

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// With this many of the complete lines that are there.
    Last(usize),
    /// Behind the line that a reader saw last, also in a file that was renamed by number since. With the whole file, if
    /// that line is in none of them, or the file was truncated since.
    After(Position),
    /// With all that there is.
    Beginning,
}

/// The lines of the file at `path`, without an end.
///
/// # Errors
/// The file is there but can't be read, or is no regular file. It is the last item.
pub(crate) fn follow(
    path: PathBuf,
    start: Start,
) -> impl Stream<Item = io::Result<(Position, Line)>> {
    stream::try_unfold(Tail::new(path, start), async |mut tail| {
        loop {
            // Disks may be slow: reading is for threads that may wait.
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
    /// The file that is read, then those that took its place one after the other.
    files: VecDeque<Open>,
    /// How many lines were given.
    lines: u64,
    buffer: Box<[u8]>,
    patience: Duration,
}

struct Open {
    file: File,
    id: FileId,
    /// How far it is read.
    offset: u64,
    /// The last bytes before that, up to [`RECENT_BYTES`].
    recent: Vec<u8>,
    line: PartialLine,
    /// Where `line` begins.
    line_offset: u64,
    /// End of the file when its truncation was noticed. A line across that place is a cut line and what
    /// was written behind it.
    cut: u64,
    /// Since when it has not grown although another file stands in its place.
    replaced: Option<Instant>,
}

/// The bytes of a line whose end isn't there yet.
#[derive(Default)]
struct PartialLine {
    bytes: Vec<u8>,
    truncated: bool,
    /// It may be the rest of a line whose start a truncation took away.
    fragment: bool,
    /// The line is not to be given: reading began inside it.
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

    /// Reads on by at most one buffer. `None` means that there was nothing to read.
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
        // After the read: if the file was truncated before it, what was read is of another place.
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
        // Its writer may still write to the old file for a moment: it gets one more look, and time to end a line.
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

    /// Opens the files that took the place of the newest one, before they can be renamed or deleted.
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
            // A file that came back under its old name is read on where it was.
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
        // Before it is opened: to open a named pipe would wait for its writer.
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

    /// Reads on at a position of this file. Returns whether it is still there; if not, the file is read from its
    /// beginning.
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

    /// Reads on at `offset`, where a line begins. In a file that was truncated in the meantime, at its beginning.
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

    /// Whether what was read last, and all of the unfinished line, is still where it was.
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

    /// Reads the file again from its beginning.
    fn restart(&mut self) {
        self.offset = 0;
        self.recent.clear();
        self.line = PartialLine::default();
        self.line_offset = 0;
    }

    /// Reads the file again from its beginning, as it was truncated while it was read.
    fn restart_truncated(&mut self) -> io::Result<()> {
        let was_inside_a_line = !self.line.bytes.is_empty() || self.line.skip;
        self.restart();
        self.line.fragment = was_inside_a_line;
        self.cut = self.file.metadata()?.len();
        Ok(())
    }

    /// Time of the last write, as far as the system tells.
    fn written(&self) -> Option<SystemTime> {
        self.file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    }

    fn has_unfinished_line(&self) -> bool {
        !self.line.bytes.is_empty() && !self.line.skip
    }

    /// Notes bytes as those that were read last.
    fn remember(&mut self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(RECENT_BYTES)..];
        let too_many = (self.recent.len() + last.len()).saturating_sub(RECENT_BYTES);
        self.recent.drain(..too_many);
        self.recent.extend_from_slice(last);
        self.offset += bytes.len() as u64;
    }

    /// Takes the bytes that follow in the file.
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

    /// Takes the end of the file for the end of its last line.
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
            // The first byte of a character of several says by its leading ones how many.
            if self.bytes.len() - last < self.bytes[last].leading_ones() as usize {
                self.bytes.truncate(last);
            }
        }
    }
}

/// FNV-1a: the same in every build, as it goes out and comes back.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What stands at `path`, if anything does.
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

/// The files that were renamed by number, `path.1` being the latest: the one that is `oldest`, then those that came
/// after it. None, if `oldest` isn't among them.
fn rotated_since(path: &Path, oldest: FileId) -> Vec<Open> {
    let mut newer = Vec::new();
    for number in 1..=MAX_FILES {
        let mut name = OsString::from(path);
        name.push(format!(".{number}"));
        // A gap is there for a moment while a rotation is going on.
        let Ok(Some(open)) = Open::at(Path::new(&name)) else {
            continue;
        };
        let is_oldest = open.id == oldest;
        newer.push(open);
        if is_oldest {
            newer.reverse();
            // A file that was last written before `oldest` was got its name at an earlier time.
            let written = newer[0].written();
            newer.retain(|open| open.written() >= written);
            return newer;
        }
    }
    Vec::new()
}

/// Where the last `count` complete lines begin, or as many of them as are near enough to the end.
/// `None` if no line ends near it.
fn start_of_last_lines(file: &File, length: u64, count: usize) -> io::Result<Option<u64>> {
    let floor = length.saturating_sub(MAX_LOOK_BACK_BYTES);
    let mut buffer = vec![0; READ_BYTES];
    let mut end = length;
    // Behind the line ends that were met, going backwards; the first is the end of the last line.
    let mut start = None;
    let mut line_ends = 0;
    while end > floor {
        let size = usize::try_from(end - floor)
            .unwrap_or(usize::MAX)
            .min(READ_BYTES);
        let block = &mut buffer[..size];
        let from = end - size as u64;
        match file.read_exact_at(block, from) {
            // It was truncated in the meantime: all that it holds now is new.
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
