//! `headwater import`: adds exported streams to a hub.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
};

use clap::Args as ClapArgs;
use futures_core::Stream;
use headwater_client::{Bytes, Problem};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    exit::Failure,
    file::Place,
    hub_options::Hub,
    interrupt::Interrupt,
    progress::{set_style, spinner},
};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

#[derive(ClapArgs)]
pub(crate) struct Import {
    /// The file that `export` has written; without it, or with `-`, the standard input
    file: Option<PathBuf>,

    /// Leave out streams whose path another stream has at the hub, instead of ending there
    #[arg(long)]
    skip_existing: bool,

    #[command(flatten)]
    hub: Hub,
}

/// The hub's answer.
#[derive(Deserialize)]
struct Summary {
    imported: u64,
    unchanged: u64,
    skipped: u64,
    expired: u64,
    dropped: u64,
}

pub(crate) async fn run(args: Import, mut interrupt: Interrupt) -> Result<(), Failure> {
    let bar = spinner(io::stderr().is_terminal());
    let outcome = tokio::select! {
        done = import(&args, &bar) => done,
        number = interrupt.wait() => Err(Failure::signal(number)),
    };
    bar.finish_and_clear();
    report!("{}", text(&outcome?));
    Ok(())
}

/// Returns the advice after a failure. `is_begun`: it may have left streams at the hub.
fn advice(is_begun: bool) -> &'static str {
    match is_begun {
        true => "\n(what was imported stays; run the command again to continue)",
        false => "",
    }
}

/// Returns the place in the export that a problem is about.
fn place(problem: &Problem) -> String {
    let stream = problem.get("stream").map(|it| format!("the stream {it}"));
    let line = problem.get("line").map(|it| format!("line {it}"));
    let parts: Vec<_> = [line, stream].into_iter().flatten().collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!("\n(in {})", parts.join(", ")),
    }
}

/// Returns `true` if streams of the export, or a part of one, may be at the hub that reports a problem.
fn has_imported(problem: &Problem) -> bool {
    let Some(counts) = problem.get("summary").and_then(Value::as_object) else {
        return false;
    };
    let is_within = match problem.get("line").and_then(Value::as_u64) {
        // The first two lines begin the export and its first stream.
        Some(line) => line > 2,
        None => problem.get("stream").is_some(),
    };
    is_within || counts.values().any(|count| count != 0)
}

async fn import(args: &Import, bar: &ProgressBar) -> Result<Summary, Failure> {
    let client = args.hub.client()?;
    let input: Box<dyn Read + Send> = match Place::input(args.file.as_deref()) {
        Place::Path(path) => {
            let failed = |error| Failure::other(format!("{}: {error}", path.display()));
            let file = File::open(path).map_err(failed)?;
            let about = file.metadata().map_err(failed)?;
            if about.is_dir() {
                return Err(Failure::other(format!(
                    "{}: it is a folder",
                    path.display()
                )));
            }
            if about.is_file() {
                set_style(bar, "{spinner} {bar:24} {percent:>3}%  {msg}");
                bar.set_length(about.len());
            }
            Box::new(file)
        }
        Place::Stdin | Place::Stdout => Box::new(io::stdin()),
    };
    let mut request = client
        .post(args.hub.at("/import"))
        .header("content-type", "application/x-ndjson");
    if args.skip_existing {
        request = request.query("existing", "skip");
    }
    let pieces = Pieces::read(input, bar.clone());
    let failed = Arc::clone(&pieces.failed);
    let sent = request.upload(pieces).await;
    // The reason for which the body ended, and with it the request.
    if let Some(error) = failed.lock().take() {
        let failure = Failure::other(format!("the input can't be read: {error}"));
        return Err(failure.with(advice(bar.position() > 0)));
    }
    sent.map_err(|error| {
        let place = error.problem().map(place).unwrap_or_default();
        let is_begun = match error.status() {
            Some(_) => error.problem().is_some_and(has_imported),
            None => bar.position() > 0,
        };
        Failure::from(error).with(&place).with(advice(is_begun))
    })
}

/// The pieces of the input. A thread reads it, as that blocks.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    failed: Arc<parking_lot::Mutex<Option<String>>>,
    bar: ProgressBar,
    bytes: u64,
}

impl Pieces {
    fn read(mut input: Box<dyn Read + Send>, bar: ProgressBar) -> Self {
        let (sender, pieces) = mpsc::channel(2);
        thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = match input.read(&mut piece) {
                    Ok(0) => return,
                    Ok(read) => Ok(read),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let is_over = read.is_err();
                let piece = read.map(|read| {
                    piece.truncate(read);
                    Bytes::from(piece)
                });
                // The request can have ended.
                if sender.blocking_send(piece).is_err() || is_over {
                    return;
                }
            }
        });
        Self {
            pieces,
            failed: Arc::default(),
            bar,
            bytes: 0,
        }
    }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        match &piece {
            Some(Ok(piece)) => {
                self.bytes += piece.len() as u64;
                self.bar.set_position(self.bytes);
                self.bar.set_message(HumanBytes(self.bytes).to_string());
            }
            Some(Err(error)) => *self.failed.lock() = Some(error.to_string()),
            None => self.bar.set_message("waiting for the hub"),
        }
        Poll::Ready(piece)
    }
}

fn text(summary: &Summary) -> String {
    let plural = if summary.imported == 1 { "" } else { "s" };
    let mut text = format!("imported {} stream{plural}", HumanCount(summary.imported));
    for (count, what) in [
        (summary.unchanged, "there already"),
        (summary.skipped, "skipped, as another stream has the path"),
        (summary.expired, "expired"),
        (summary.dropped, "missing in the export"),
    ] {
        if count > 0 {
            text.push_str(&format!("; {} {what}", HumanCount(count)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_what_was_left_out() {
        let mut summary = Summary {
            imported: 1,
            unchanged: 0,
            skipped: 0,
            expired: 0,
            dropped: 0,
        };
        assert_eq!(text(&summary), "imported 1 stream");
        summary.imported = 1200;
        summary.unchanged = 3;
        summary.expired = 1;
        assert_eq!(
            text(&summary),
            "imported 1,200 streams; 3 there already; 1 expired"
        );
    }
}
