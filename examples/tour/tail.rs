//! Follows a log file that grows, through every kind of rotation.
//!
//! - Renamed, and a new file made in its place: the old file is read to its end, then the new one from
//!   its beginning. The end of the old file ends its last line.
//! - Copied and truncated: reading goes on at the beginning. A line that was still unfinished went
//!   with the truncation. A file that grows past the old length within one poll can't be told from one
//!   that only grew; nothing that looks at files from outside can.
//! - Missing, at first or for a while: it is waited for, and all that it then holds is new.
//!
//! Memory is bounded: one buffer of [`READ_BYTES`] and one line of [`MAX_LINE_BYTES`] for each reader.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use futures_core::Stream;
use futures_util::{TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;

/// How often the file is looked at when there is nothing to read.
const POLL: Duration = Duration::from_millis(200);
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
    /// Whether only its first [`MAX_LINE_BYTES`] are here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
}

/// Where a line ended: what a reader says to go on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    file: FileId,
    offset: u64,
    line: u64,
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
        } = self;
        write!(f, "{device}-{inode}-{offset}-{line}")
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
            Ok(&[device, inode, offset, line]) => Ok(Self {
                file: FileId { device, inode },
                offset,
                line,
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
    /// Behind the line that a reader saw last; with the whole file, if that line was in another one.
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
    open: Option<Open>,
    /// How many lines were given.
    lines: u64,
    buffer: Box<[u8]>,
}

struct Open {
    file: File,
    id: FileId,
    /// How far it is read.
    offset: u64,
    line: PartialLine,
    /// Another file stood in its place when it was last read to the end.
    replaced: bool,
}

/// The bytes of a line whose end isn't there yet.
#[derive(Default)]
struct PartialLine {
    bytes: Vec<u8>,
    truncated: bool,
    /// The line is not to be given: reading began inside it.
    skip: bool,
}

impl Tail {
    fn new(path: PathBuf, start: Start) -> Self {
        Self {
            path,
            start,
            open: None,
            lines: 0,
            buffer: vec![0; READ_BYTES].into(),
        }
    }

    /// Reads on by at most one buffer. `None` means that there was nothing to read.
    fn read(&mut self) -> io::Result<Option<Vec<(Position, Line)>>> {
        let Some(open) = &mut self.open else {
            self.open = self.open_first()?;
            return Ok(self.open.is_some().then(Vec::new));
        };
        let read = open.file.read_at(&mut self.buffer, open.offset)?;
        let mut lines = Vec::new();
        if read > 0 {
            open.replaced = false;
            open.split(&self.buffer[..read], &mut self.lines, &mut lines);
            return Ok(Some(lines));
        }
        if open.file.metadata()?.len() < open.offset {
            open.offset = 0;
            open.line = PartialLine::default();
            return Ok(Some(lines));
        }
        match metadata(&self.path)? {
            Some(metadata) if FileId::from(&metadata) != open.id => {}
            _ => return Ok(None),
        }
        // Whoever writes may still write to the old file for a moment: it gets one more look.
        if !open.replaced {
            open.replaced = true;
            return Ok(None);
        }
        let Some(new) = Open::at(&self.path)? else {
            return Ok(None);
        };
        open.end(&mut self.lines, &mut lines);
        self.open = Some(new);
        Ok(Some(lines))
    }

    fn open_first(&mut self) -> io::Result<Option<Open>> {
        let Some(mut open) = Open::at(&self.path)? else {
            if let Start::Last(_) = self.start {
                self.start = Start::Beginning;
            }
            return Ok(None);
        };
        let length = open.file.metadata()?.len();
        match self.start {
            Start::Beginning => {}
            Start::Last(count) => match start_of_last_lines(&open.file, length, count)? {
                Some(offset) => open.offset = offset,
                None => {
                    open.offset = length;
                    open.line.skip = true;
                }
            },
            Start::After(seen) => {
                self.lines = seen.line;
                if seen.file == open.id && seen.offset <= length {
                    open.offset = seen.offset;
                }
            }
        }
        Ok(Some(open))
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
            line: PartialLine::default(),
            replaced: false,
        }))
    }

    /// Takes the bytes that follow in the file.
    fn split(&mut self, bytes: &[u8], count: &mut u64, lines: &mut Vec<(Position, Line)>) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.offset += piece.len() as u64;
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
            self.give(count, lines);
        }
    }

    fn give(&mut self, count: &mut u64, lines: &mut Vec<(Position, Line)>) {
        if let Some((text, truncated)) = std::mem::take(&mut self.line).finish() {
            *count += 1;
            let position = Position {
                file: self.id,
                offset: self.offset,
                line: *count,
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
            self.truncated,
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
