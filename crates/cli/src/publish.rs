//! `headwater publish`: appends messages to a stream, each once.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _},
    thread,
};

use clap::Args as ClapArgs;
use headwater_client::hub::Writer;
use tokio::sync::mpsc;

use crate::{exit::Failure, get::progress::Progress, hub::Hub, interrupt::Interrupt};

/// The longest line that is read. A hub takes 8 MiB, unless it was told otherwise.
const MAX_LINE: u64 = 64 * 1024 * 1024;
/// How many lines are read ahead.
const AHEAD: usize = 64;

#[derive(ClapArgs)]
pub(crate) struct Publish {
    /// The stream: its path at the hub, or its whole URL
    stream: String,

    /// The messages; none: the lines of the standard input, as they arrive, or as they are typed
    ///
    /// What begins with a hyphen and is no number comes after `--`.
    #[arg(allow_negative_numbers = true)]
    messages: Vec<String>,

    /// Send each message as a JSON string, whatever it is
    #[arg(long)]
    text: bool,

    /// Publish as this producer, and leave out what it has published before
    ///
    /// A command that was stopped anywhere can so be run again: with the same messages, from the
    /// first. The stream forgets a producer when a thousand others have published to it since.
    #[arg(long, value_name = "ID", env = "HEADWATER_PRODUCER")]
    producer: Option<String>,

    /// Close the stream after the last message
    #[arg(long)]
    close: bool,

    /// Don't create the stream where there is none
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
    let mut options = args.hub.stream(&client, &args.stream).writer();
    options = options.create(!args.no_create);
    if let Some(id) = &args.producer {
        // Each message is a request of its own there: more of them on the way make up for it.
        options = options.repeating(id).max_in_flight(32);
    }
    let writer = options.open().await?;
    let by_hand = args.is_by_hand();
    if by_hand {
        eprintln!(
            "publishing to {}: each line is a message; Ctrl-D ends",
            args.stream
        );
    }
    let progress = (!args.quiet).then(|| match by_hand {
        true => Progress::at_the_end(),
        false => Progress::start(false),
    });
    let mut account = Account {
        progress,
        messages: 0,
        bytes: 0,
    };
    let outcome = tokio::select! {
        outcome = publish(&args, &writer, &mut account) => outcome,
        // What was read goes out yet, if it can in a second.
        number = interrupt.wait() => Err(Failure::signal(number)),
    };
    let skipped = writer.skipped();
    let outcome = match outcome {
        Ok(()) => finish(args.close, writer, &mut account).await,
        Err(failure) => {
            // The first error counts; but what was given before it isn't lost by it.
            let _ = writer.flush().await;
            account.tell(&writer);
            Err(failure)
        }
    };
    account.finish(skipped);
    outcome
}

impl Publish {
    /// Whether a person types the messages, and wants to see what becomes of each.
    fn is_by_hand(&self) -> bool {
        self.messages.is_empty() && !self.quiet && io::stdin().is_terminal()
    }
}

async fn publish(args: &Publish, writer: &Writer, account: &mut Account) -> Result<(), Failure> {
    if args.messages.is_empty() {
        return publish_lines(args, writer, account).await;
    }
    for (n, message) in args.messages.iter().enumerate() {
        let message = message.clone().into_bytes();
        append(args, writer, message, account)
            .await
            .map_err(|failure| failure.about(&format!("message {}", n + 1)))?;
    }
    Ok(())
}

async fn publish_lines(
    args: &Publish,
    writer: &Writer,
    account: &mut Account,
) -> Result<(), Failure> {
    let (sender, mut lines) = mpsc::channel(AHEAD);
    // A thread of its own, which may hang in a read: nothing waits for it at the end.
    thread::spawn(move || read_lines(&sender));
    let by_hand = args.is_by_hand();
    let mut number = 0_u64;
    while let Some(line) = lines.recv().await {
        number += 1;
        let line = line.map_err(|error| Failure::other(format!("the standard input: {error}")))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        append(args, writer, line, account)
            .await
            .map_err(|failure| failure.about(&format!("line {number}")))?;
        if by_hand {
            writer.flush().await?;
            eprintln!("{} stored", writer.acknowledged());
        }
    }
    Ok(())
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

async fn append(
    args: &Publish,
    writer: &Writer,
    message: Vec<u8>,
    account: &mut Account,
) -> Result<(), Failure> {
    let bytes = message.len() as u64;
    if args.text && writer.is_json() {
        let text = String::from_utf8(message)
            .map_err(|_| Failure::other("not valid UTF-8, as a JSON string must be"))?;
        writer.append(&text).await?;
    } else {
        writer.append_raw(message).await?;
    }
    account.bytes += bytes;
    account.tell(writer);
    Ok(())
}

async fn finish(close: bool, writer: Writer, account: &mut Account) -> Result<(), Failure> {
    writer.flush().await?;
    account.tell(&writer);
    if close {
        writer.close_stream().await?;
    }
    Ok(())
}

/// What is told on stderr.
struct Account {
    progress: Option<Progress>,
    messages: u64,
    bytes: u64,
}

impl Account {
    fn tell(&mut self, writer: &Writer) {
        self.messages = writer.acknowledged();
        if let Some(progress) = &mut self.progress {
            progress.tell(self.messages, self.bytes);
        }
    }

    fn finish(&self, skipped: u64) {
        if let Some(progress) = &self.progress {
            progress.finish(self.messages, self.bytes);
            if skipped > 0 {
                eprintln!("{skipped} of them were there already");
            }
        }
    }
}
