//! `headwater publish`: appends messages to a stream, each exactly once.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, IsTerminal as _, Read as _},
    pin::pin,
    thread,
    time::Duration,
};

use clap::Args as ClapArgs;
use headwater_client::{
    Error,
    hub::{Stream, Writer},
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    exit::Failure,
    get::progress::Progress,
    hub_options::{Hub, shown, stream_name},
    interrupt::Interrupt,
};

/// Maximum length of a line. A hub accepts 8 MiB by default.
const MAX_LINE: u64 = 64 * 1024 * 1024;
/// The number of lines that are read ahead.
const AHEAD: usize = 64;
/// The interval of the checks if the stream is still open, while waiting for the next line.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(ClapArgs)]
pub(crate) struct Publish {
    /// The stream: its path at the hub, or its whole URL
    #[arg(value_parser = stream_name)]
    stream: String,

    /// The messages; without any, the lines of the standard input as they arrive or are typed
    ///
    /// In a JSON stream each message is a JSON value, and blank lines are skipped, as in NDJSON;
    /// with --text each line is a message, including an empty one. A message that begins with a
    /// hyphen and isn't a number must follow `--`.
    #[arg(allow_negative_numbers = true)]
    messages: Vec<String>,

    /// Send each message as a JSON string, even if it is JSON
    #[arg(long)]
    text: bool,

    /// Publish as this producer, and skip messages that it has already published
    ///
    /// A command that was interrupted can be run again with the same messages from the first,
    /// followed by new ones. Other or fewer messages are refused: other input needs another ID. Of
    /// two concurrent commands with one ID, one is fenced, and reports what it has stored.
    #[arg(long, value_name = "ID")]
    producer: Option<String>,

    /// Close the stream after the last message
    #[arg(long)]
    close: bool,

    /// Don't create the stream if it doesn't exist
    #[arg(long)]
    no_create: bool,

    /// No progress on stderr
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    hub: Hub,
}

pub(crate) async fn run(args: Publish, mut interrupt: Interrupt) -> Result<(), Failure> {
    let client = args.hub.client()?;
    let stream = args.hub.stream(&client, &args.stream);
    let mut options = stream.writer();
    options = options.create(!args.no_create);
    if let Some(id) = &args.producer {
        options = options.repeating(id);
    }
    let writer = options.open().await.map_err(|error| match args.no_create {
        true => args.hub.failure(&args.stream, error),
        false => error.into(),
    })?;
    let mut account = Account::new(&args);
    if args.is_by_hand() {
        report!(
            "publishing to {}: each line is a message; Ctrl-D ends",
            shown(&args.stream)
        );
    }
    let outcome = tokio::select! {
        outcome = publish(&args, &stream, &writer, &mut account) => outcome,
        // The queued messages still go out, if they can within a second.
        number = interrupt.wait() => Err(Failure::signal(number)),
    };
    let outcome = match outcome {
        Ok(()) => finish(&args, writer, &mut account).await,
        Err(failure) => {
            // The first error counts, but messages that were passed before it are still sent.
            let _ = writer.flush().await;
            account.tell(&writer);
            Err(failure)
        }
    };
    account.finish();
    outcome
}

impl Publish {
    /// Returns `true` if a person types the messages, and wants to see each one's result.
    fn is_by_hand(&self) -> bool {
        self.messages.is_empty() && !self.quiet && io::stdin().is_terminal()
    }
}

async fn publish(
    args: &Publish,
    stream: &Stream,
    writer: &Writer,
    account: &mut Account,
) -> Result<(), Failure> {
    if args.messages.is_empty() {
        return publish_lines(args, stream, writer, account).await;
    }
    for (n, message) in args.messages.iter().enumerate() {
        let message = message.clone().into_bytes();
        append(args, writer, message, account, n as u64 + 1).await?;
    }
    Ok(())
}

async fn publish_lines(
    args: &Publish,
    stream: &Stream,
    writer: &Writer,
    account: &mut Account,
) -> Result<(), Failure> {
    let (sender, mut lines) = mpsc::channel(AHEAD);
    // A separate thread, which may hang in a read; exit doesn't wait for it.
    thread::spawn(move || read_lines(&sender));
    let by_hand = args.is_by_hand();
    let mut number = 0_u64;
    let mut ended = pin!(ended(stream, args.producer.is_none()));
    loop {
        let line = tokio::select! {
            biased;
            // Detects a failure even if the next line takes long.
            error = writer.failed() => return Err(account.blame(error, writer)),
            line = lines.recv() => line,
            failure = &mut ended => {
                // A failure of a message in flight is more specific.
                writer.flush().await.map_err(|error| account.blame(error, writer))?;
                return Err(failure.with("; all messages that were given are stored"));
            }
        };
        let Some(line) = line else { return Ok(()) };
        number += 1;
        let line = line.map_err(|error| Failure::other(format!("the standard input: {error}")))?;
        // In NDJSON, blank lines between values are insignificant.
        if writer.is_json() && !args.text && line.trim_ascii().is_empty() {
            account.skip(writer);
            continue;
        }
        append(args, writer, line, account, number).await?;
        // Messages that the producer has published before count only after all of them were passed
        // again.
        if by_hand && args.producer.is_none() {
            let flushed = writer.flush().await;
            flushed.map_err(|error| account.blame(error, writer))?;
            report!("{} stored", writer.acknowledged());
        }
    }
}

/// Waits until an open stream is closed or deleted, so that a program with occasional lines learns
/// it before its next one. `was_open` is `true` if the stream is known to have been open at the
/// start.
async fn ended(stream: &Stream, mut was_open: bool) -> Failure {
    loop {
        match stream.info().await {
            Ok(info) if info.closed && was_open => {
                return Failure::refused("the stream was closed: it takes no more appends");
            }
            // It was closed at the start, and may already contain all messages.
            Ok(info) if info.closed => std::future::pending().await,
            Ok(_) => was_open = true,
            Err(error)
                if matches!(
                    error.status().map(|status| status.as_u16()),
                    Some(404 | 410)
                ) =>
            {
                return error.into();
            }
            // The next message will report the error.
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

fn read_lines(sender: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut input = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = match input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') => Err(
                io::Error::other(format!("a line is over {MAX_LINE} bytes long")),
            ),
            Ok(_) => {
                if line.pop_if(|byte| *byte == b'\n').is_some() {
                    line.pop_if(|byte| *byte == b'\r');
                }
                Ok(line)
            }
            Err(error) => Err(error),
        };
        let is_over = read.is_err();
        if sender.blocking_send(read).is_err() || is_over {
            return;
        }
    }
}

/// Passes a message to the writer: the argument or line with this number.
async fn append(
    args: &Publish,
    writer: &Writer,
    message: Vec<u8>,
    account: &mut Account,
    number: u64,
) -> Result<(), Failure> {
    let bytes = message.len() as u64;
    let given = if args.text && writer.is_json() {
        match String::from_utf8(message) {
            Ok(text) => writer.append(&text).await,
            Err(_) => {
                let failure = Failure::other("not valid UTF-8, as a JSON string must be");
                return Err(failure.about(&account.place(number)));
            }
        }
    } else {
        writer.append_raw(message).await
    };
    match given {
        Ok(()) => {}
        // The error is about an earlier message, which the hub has refused by now.
        Err(error) if error.message_number().is_some() => return Err(account.blame(error, writer)),
        Err(error) => return Err(Failure::from(error).about(&account.place(number))),
    }
    account.given += 1;
    account.bytes += bytes;
    account.tell(writer);
    Ok(())
}

async fn finish(args: &Publish, writer: Writer, account: &mut Account) -> Result<(), Failure> {
    let flushed = writer.flush().await;
    account.tell(&writer);
    flushed.map_err(|error| account.blame(error, &writer))?;
    if args.close {
        writer.close_stream().await?;
    }
    Ok(())
}

/// The totals of a run.
struct Account {
    progress: Option<Progress>,
    /// Messages that were passed to the writer.
    given: u64,
    /// Messages that are acknowledged.
    messages: u64,
    skipped: u64,
    bytes: u64,
    /// The skipped lines; `None` if the messages aren't lines.
    blanks: Option<Blanks>,
}

impl Account {
    fn new(args: &Publish) -> Self {
        Self {
            progress: (!args.quiet).then(|| match args.is_by_hand() {
                true => Progress::at_the_end(),
                false => Progress::start(false),
            }),
            given: 0,
            messages: 0,
            skipped: 0,
            bytes: 0,
            blanks: args.messages.is_empty().then(Blanks::default),
        }
    }

    fn tell(&mut self, writer: &Writer) {
        self.messages = writer.acknowledged();
        self.skipped = writer.skipped();
        if let Some(progress) = &mut self.progress {
            progress.tell(self.messages, self.bytes);
        }
    }

    fn finish(&self) {
        if let Some(progress) = &self.progress {
            progress.finish(self.messages, self.bytes);
            if self.skipped > 0 {
                report!("{} of them were already stored", self.skipped);
            }
        }
    }

    /// Counts a line that isn't a message.
    fn skip(&mut self, writer: &Writer) {
        if let Some(blanks) = &mut self.blanks {
            blanks.add(self.given, writer.acknowledged());
        }
    }

    /// Describes the argument or line with this number.
    fn place(&self, number: u64) -> String {
        let what = match self.blanks {
            Some(_) => "line",
            None => "message",
        };
        format!("{what} {number}")
    }

    /// Converts the error of a message to a failure, with its place and the number of stored
    /// messages.
    fn blame(&self, error: Error, writer: &Writer) -> Failure {
        let stored = writer.acknowledged();
        let word = match error.is_status() || error.is_stream_closed() || error.is_fenced() {
            true => "stored",
            // More messages may be stored.
            false => "known to be stored",
        };
        let is_told = error.is_not_repeated();
        let number = error.message_number();
        let mut failure = Failure::from(error);
        if !is_told {
            failure = failure.with(&format!("; {stored} of the messages before it are {word}"));
        }
        let Some(message) = number else {
            return failure;
        };
        let blanks = self.blanks.as_ref();
        let number = message + blanks.map_or(0, |blanks| blanks.before(message));
        failure.about(&self.place(number))
    }
}

/// Lines that aren't messages, by which the numbers of lines differ from those of messages.
#[derive(Default)]
struct Blanks {
    /// Pairs of a number of messages and the number of blank lines before the next one, newest
    /// last.
    seen: VecDeque<(u64, u64)>,
}

impl Blanks {
    fn add(&mut self, messages: u64, acknowledged: u64) {
        // Acknowledged messages won't be looked up.
        while self.seen.len() > 1 && self.seen[1].0 <= acknowledged {
            self.seen.pop_front();
        }
        match self.seen.back_mut() {
            Some((at, count)) if *at == messages => *count += 1,
            Some(&mut (_, count)) => self.seen.push_back((messages, count + 1)),
            None => self.seen.push_back((messages, 1)),
        }
    }

    /// The number of blank lines before the message with this number, from 1.
    fn before(&self, message: u64) -> u64 {
        let after = self
            .seen
            .partition_point(|(messages, _)| *messages < message);
        let newest = after.checked_sub(1).and_then(|at| self.seen.get(at));
        newest.map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_on_the_line_after_the_blank_ones_before_it() {
        let mut blanks = Blanks::default();
        assert_eq!(blanks.before(1), 0);
        // Lines: blank, 1, 2, blank, blank, 3, blank.
        for messages in [0, 2, 2, 3] {
            blanks.add(messages, 0);
        }
        let found = [1, 2, 3, 4, 9].map(|message| blanks.before(message));
        assert_eq!(found, [1, 1, 3, 4, 4]);
    }

    #[test]
    fn acknowledged_messages_take_no_room() {
        let mut blanks = Blanks::default();
        for messages in 0..1000 {
            blanks.add(messages, messages.saturating_sub(3));
        }
        assert!(blanks.seen.len() < 6, "{}", blanks.seen.len());
        assert_eq!(blanks.before(1000), 1000);
        assert_eq!(blanks.before(998), 998);
    }
}
