use std::{
    io::{self, ErrorKind, IsTerminal as _, Write},
    path::Path,
};

use headwater_client::gather::GatherResult;
use headwater_wire::json;

use crate::{exit::Failure, file::Target, get::output::Written};

/// Above this size, the results are written although more are available.
const BUFFER: usize = 64 * 1024;

/// Maximum size of the results of failed calls that are held back from a file with content.
const HELD: usize = 16 * 1024 * 1024;

/// The destination of the results. Only whole lines are written, unless a write itself is
/// interrupted.
pub(super) struct Output {
    /// `None` is the standard output.
    target: Option<Target>,
    name: String,
    lines: Vec<u8>,
    has_written: bool,
    /// `true` while no call has succeeded and the file has content, which is worth more than
    /// failures.
    holds: bool,
}

impl Output {
    /// Opens the output; without a path, or with `-`, the standard output. A file keeps its content
    /// until a call has succeeded.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self {
                target: None,
                name: "the standard output".to_owned(),
                lines: Vec::new(),
                has_written: false,
                holds: false,
            });
        };
        let name = path.display().to_string();
        let target =
            Target::replace(path).map_err(|error| failure(&format!("--output {name}"), &error))?;
        Ok(Self {
            holds: target.has_something_to_lose(),
            ..Self::appending(target, name)
        })
    }

    /// Appends to the content that the file keeps.
    pub(super) fn appending(target: Target, name: String) -> Self {
        Self {
            target: Some(target),
            name,
            lines: Vec::new(),
            has_written: false,
            holds: false,
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.target.is_none() && io::stdout().is_terminal()
    }

    /// Returns `true` if the file contains results of this run.
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    /// Appends a result to the buffer.
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
        self.holds &= result.outcome.is_err() && self.lines.len() < HELD;
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        !self.holds && self.lines.len() >= BUFFER
    }

    /// Writes the buffered results, unless they are held back.
    pub(super) fn flush(&mut self) -> Result<Written, Failure> {
        if self.holds {
            return Ok(Written::Yes);
        }
        self.has_written |= self.target.is_some() && !self.lines.is_empty();
        let written = match &mut self.target {
            Some(target) => write(target, &self.lines),
            None => write(&mut io::stdout(), &self.lines),
        };
        self.lines.clear();
        self.lines.shrink_to(BUFFER);
        match written {
            Ok(()) => Ok(Written::Yes),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::OutputClosed),
            Err(error) => Err(failure(&self.name, &error)),
        }
    }

    /// Writes the remaining results. `is_done` is `true` if all calls have their results.
    ///
    /// If no call has succeeded, a file with content is unchanged.
    pub(super) fn finish(&mut self, is_done: bool) -> Result<Written, Failure> {
        if self.holds {
            let why = match self.lines.is_empty() {
                true => "there are no results",
                false => "no call succeeded, and the results go to the standard output",
            };
            report!("headwater: {why}: {} is left as it was", self.name);
            self.target = None;
            self.holds = false;
            return self.flush();
        }
        let written = self.flush()?;
        if let Some(target) = self.target.as_mut().filter(|_| is_done) {
            let committed = target.commit();
            committed.map_err(|error| failure(&self.name, &error))?;
        }
        Ok(written)
    }
}

fn write(target: &mut impl Write, lines: &[u8]) -> io::Result<()> {
    target.write_all(lines)?;
    target.flush()
}

pub(super) fn failure(name: &str, error: &io::Error) -> Failure {
    Failure::other(format!("{name}: {error}"))
}
