//! The calls, read line by line on a separate thread.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
};

use futures_core::Stream;
use headwater_client::gather::Call;
use headwater_wire::json;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{output::failure, resume::Earlier};
use crate::{exit::Failure, url::call_with_scheme};

/// Maximum length of a line.
const MAX_LINE: u64 = 64 * 1024 * 1024;
/// The number of lines that are read ahead.
const AHEAD: usize = 64;

/// The calls to make.
pub(super) struct Input {
    calls: mpsc::Receiver<Result<Call, BadLine>>,
    watch: Watch,
}

/// The state of the input while it is being read.
#[derive(Clone)]
pub(super) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    name: String,
    /// The size of the file, if it is a regular one.
    bytes: Option<u64>,
    bytes_read: AtomicU64,
    /// The number of calls that were read, including those of an earlier run.
    calls: AtomicU64,
    made_earlier: AtomicU64,
    is_over: AtomicBool,
    failure: Mutex<Option<io::Error>>,
    /// Set if calls are skipped: maps the nth call to its number in the input. Contains only calls
    /// without a result.
    indexes: Option<Mutex<HashMap<u64, u64>>>,
}

/// A line that isn't a call.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct BadLine {
    line: u64,
    what: String,
}

impl Input {
    /// Opens the input; without a path, or with `-`, the standard input. If `repeatable` is `true`,
    /// all calls are repeatable.
    pub(super) fn open(
        path: Option<&Path>,
        earlier: Earlier,
        repeatable: bool,
    ) -> Result<Self, Failure> {
        let mut shared = Shared {
            indexes: (!earlier.is_empty()).then(Mutex::default),
            ..Shared::default()
        };
        let lines: Box<dyn BufRead + Send> = match path.filter(|path| path.as_os_str() != "-") {
            None => {
                shared.name = "the standard input".to_owned();
                Box::new(BufReader::new(io::stdin()))
            }
            Some(path) => {
                shared.name = path.display().to_string();
                let failed = |error| failure(&shared.name, &error);
                let file = File::open(path).map_err(failed)?;
                let metadata = file.metadata().map_err(failed)?;
                shared.bytes = metadata.is_file().then_some(metadata.len());
                Box::new(BufReader::new(file))
            }
        };
        let watch = Watch(Arc::new(shared));
        let (sender, calls) = mpsc::channel(AHEAD);
        let reader = Reader {
            lines,
            sender,
            earlier,
            repeatable,
            watch: watch.clone(),
        };
        // The thread may hang in a read; exit doesn't wait for it.
        thread::Builder::new()
            .spawn(move || reader.run())
            .map_err(|error| Failure::other(format!("can't start a thread: {error}")))?;
        Ok(Self { calls, watch })
    }

    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

impl Stream for Input {
    type Item = Result<Call, BadLine>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.calls.poll_recv(cx)
    }
}

impl Watch {
    /// Returns the number in the input of the nth call, which now has its result.
    pub(super) fn index(&self, nth: u64) -> u64 {
        let Some(indexes) = &self.0.indexes else {
            return nth;
        };
        let mut indexes = indexes.lock();
        indexes
            .remove(&nth)
            .unwrap_or_else(|| self.0.calls.load(Ordering::SeqCst))
    }

    /// The number of calls in the input: exact once it is read, before that estimated by its size.
    /// `None` if the size isn't known.
    pub(super) fn total(&self) -> Option<u64> {
        let shared = &self.0;
        let calls = shared.calls.load(Ordering::SeqCst);
        if shared.is_over.load(Ordering::SeqCst) {
            return Some(calls);
        }
        let read = shared.bytes_read.load(Ordering::SeqCst);
        let estimate = u128::from(shared.bytes?) * u128::from(calls) / u128::from(read.max(1));
        u64::try_from(estimate)
            .ok()
            .map(|estimate| estimate.max(calls))
    }

    /// The number of calls that were skipped because an earlier run has made them.
    pub(super) fn made_earlier(&self) -> u64 {
        self.0.made_earlier.load(Ordering::SeqCst)
    }

    /// Returns `true` if there is no [`Watch::failure`].
    pub(super) fn is_sound(&self) -> bool {
        self.0.failure.lock().is_none()
    }

    /// Returns the error that ended the input early.
    pub(super) fn failure(&self) -> Option<Failure> {
        let error = self.0.failure.lock().take();
        error.map(|error| failure(&self.0.name, &error))
    }
}

struct Reader {
    lines: Box<dyn BufRead + Send>,
    sender: mpsc::Sender<Result<Call, BadLine>>,
    earlier: Earlier,
    repeatable: bool,
    watch: Watch,
}

impl Reader {
    fn run(mut self) {
        let (mut line, mut number, mut index, mut nth) = (Vec::new(), 0_u64, 0_u64, 0_u64);
        let shared = Arc::clone(&self.watch.0);
        loop {
            let is_whole = match read_line(&mut self.lines, &mut line) {
                Ok(Some((bytes, is_whole))) => {
                    shared.bytes_read.fetch_add(bytes, Ordering::SeqCst);
                    is_whole
                }
                Ok(None) => break,
                Err(error) => {
                    *shared.failure.lock() = Some(error);
                    break;
                }
            };
            number += 1;
            if number == 1 {
                let bom = line.len() - json::without_bom(&line).len();
                line.drain(..bom);
            }
            if is_whole && line.trim_ascii().is_empty() {
                continue;
            }
            let call = self
                .call(&line, is_whole)
                .map_err(|what| BadLine { line: number, what });
            let in_input = index;
            index += 1;
            shared.calls.store(index, Ordering::SeqCst);
            if call
                .as_ref()
                .is_ok_and(|call| self.earlier.takes(in_input, call))
            {
                shared.made_earlier.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            if let Some(indexes) = &shared.indexes {
                indexes.lock().insert(nth, in_input);
            }
            nth += 1;
            if self.sender.blocking_send(call).is_err() {
                return;
            }
        }
        shared.is_over.store(true, Ordering::SeqCst);
    }

    fn call(&self, line: &[u8], is_whole: bool) -> Result<Call, String> {
        if !is_whole {
            return Err(format!("it is over {MAX_LINE} bytes long"));
        }
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let call: Call = call_with_scheme(text)
            .parse()
            .map_err(|error| format!("{error}"))?;
        Ok(match self.repeatable {
            true => call.repeatable(true),
            false => call,
        })
    }
}

/// Reads the next line. Returns its length in bytes, and `true` if it is complete. The rest of a
/// line that is too long is skipped.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<(u64, bool)>> {
    line.clear();
    let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(None);
    }
    let mut bytes = read as u64;
    if bytes < MAX_LINE || line.last() == Some(&b'\n') {
        return Ok(Some((bytes, true)));
    }
    line.clear();
    line.shrink_to_fit();
    bytes += lines.skip_until(b'\n')? as u64;
    Ok(Some((bytes, false)))
}
