use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal as _, Write},
    path::Path,
};

use headwater_client::gather::GatherResult;
use headwater_wire::json;

use crate::{exit::Failure, get::output::Written};

/// Past this the results are written though more are ready.
const BUFFER: usize = 64 * 1024;

/// Where the results go. What is written are whole lines, unless the write itself is cut.
pub(super) struct Output {
    target: Box<dyn Write>,
    name: String,
    terminal: bool,
    lines: Vec<u8>,
}

impl Output {
    /// None or `-`: the standard output.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        match path.filter(|path| path.as_os_str() != "-") {
            None => Ok(Self {
                target: Box::new(io::stdout()),
                name: "the standard output".to_owned(),
                terminal: io::stdout().is_terminal(),
                lines: Vec::new(),
            }),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path).map_err(|error| failure(&name, &error))?;
                Ok(Self::to(file, name))
            }
        }
    }

    /// Appends to a file that is open.
    pub(super) fn to(file: File, name: String) -> Self {
        Self {
            target: Box::new(file),
            name,
            terminal: false,
            lines: Vec::new(),
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Puts a result behind those that are to be written.
    pub(super) fn result(&mut self, result: &GatherResult, headers: bool) -> Result<(), Failure> {
        let start = self.lines.len();
        let written = if headers {
            json::encode_on_one_line(&result.with_headers(), &mut self.lines)
        } else {
            json::encode_on_one_line(result, &mut self.lines)
        };
        if let Err(error) = written {
            self.lines.truncate(start);
            return Err(Failure::other(format!("result {}: {error}", result.index)));
        }
        self.lines.push(b'\n');
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= BUFFER
    }

    /// Writes what wasn't written yet.
    pub(super) fn flush(&mut self) -> Result<Written, Failure> {
        let written = self.target.write_all(&self.lines);
        self.lines.clear();
        self.lines.shrink_to(BUFFER);
        match written.and_then(|()| self.target.flush()) {
            Ok(()) => Ok(Written::Yes),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::NobodyReads),
            Err(error) => Err(failure(&self.name, &error)),
        }
    }
}

pub(super) fn failure(name: &str, error: &io::Error) -> Failure {
    Failure::other(format!("{name}: {error}"))
}
