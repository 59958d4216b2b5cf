use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Write};

use super::progress::Progress;
use crate::{args, exit::Failure, file::Target as File};

/// Above this size, the output is written although more items are available.
const BUFFER: usize = 64 * 1024;

/// The destination of the items: the standard output or a file.
pub(crate) struct Output {
    target: BufWriter<Target>,
    name: String,
    terminal: bool,
    line: Vec<u8>,
    items: u64,
    bytes: u64,
    progress: Option<Progress>,
}

enum Target {
    Stdout(io::Stdout),
    File(File),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// The result of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// The pipe is closed by its reader.
    OutputClosed,
}

impl Output {
    /// Opens the file, if one is named. It keeps its content until the first item, or until the
    /// successful end.
    pub(crate) fn open(args: &args::Output) -> Result<Self, Failure> {
        let path = args.output.as_ref().filter(|path| path.as_os_str() != "-");
        let name = path.map_or("the standard output".to_owned(), |path| {
            path.display().to_string()
        });
        let target = match path {
            Some(path) => {
                let failed = |error| failure(&format!("--output {name}"), &error);
                Target::File(File::replace(path).map_err(failed)?)
            }
            None => Target::Stdout(io::stdout()),
        };
        Ok(Self {
            target: BufWriter::with_capacity(BUFFER, target),
            name,
            terminal: path.is_none() && io::stdout().is_terminal(),
            line: Vec::new(),
            items: 0,
            bytes: 0,
            progress: (path.is_some() && !args.quiet).then(|| Progress::start(args.raw)),
        })
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The number of items that were written.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// Writes one item, as appended by `print`.
    pub(crate) fn item(&mut self, print: impl FnOnce(&mut Vec<u8>)) -> Result<Written, Failure> {
        self.line.clear();
        print(&mut self.line);
        self.items += 1;
        self.bytes += self.line.len() as u64;
        let written = self.target.write_all(&self.line);
        self.written(written)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<Written, Failure> {
        self.bytes += bytes.len() as u64;
        let written = self.target.write_all(bytes);
        self.written(written)
    }

    /// Flushes the output.
    pub(crate) fn flush(&mut self) -> Result<Written, Failure> {
        if let Some(progress) = &mut self.progress {
            progress.tell(self.items, self.bytes);
        }
        let flushed = self.target.flush();
        self.written(flushed)
    }

    /// Prints a line on stderr.
    pub(crate) fn note(&self, line: &str) {
        match &self.progress {
            Some(progress) => progress.note(line),
            None => report!("{line}"),
        }
    }

    /// Flushes the output, and ends the progress. If `done` is a success without items, the file is
    /// emptied.
    pub(crate) fn finish<T>(mut self, done: Result<T, Failure>) -> Result<(), Failure> {
        let mut flushed = self.flush().map(|_| ());
        if let (Ok(_), Ok(()), Target::File(file)) = (&done, &flushed, self.target.get_mut()) {
            let committed = file.commit();
            flushed = self.written(committed).map(|_| ());
        }
        if let Some(progress) = &self.progress {
            progress.finish(self.items, self.bytes);
        }
        done.and(flushed)
    }

    fn written(&self, result: io::Result<()>) -> Result<Written, Failure> {
        match result {
            Ok(()) => Ok(Written::Yes),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::OutputClosed),
            Err(error) => Err(failure(&self.name, &error)),
        }
    }
}

fn failure(name: &str, error: &io::Error) -> Failure {
    Failure::other(format!("{name}: {error}"))
}
