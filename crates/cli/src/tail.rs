//! `headwater tail`: prints the messages of streams, and follows them.

use std::{
    num::NonZeroU64,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args as ClapArgs;
use headwater_client::{
    Client, Event, Str, control,
    hub::{Message, ReadFrom},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    args,
    exit::Failure,
    get::{
        output::{Output, Written},
        print::Printer,
        time,
    },
    hub_options::{Hub, is_missing, is_url, stream_name},
    interrupt::Interrupt,
};

#[derive(ClapArgs)]
pub(crate) struct Tail {
    /// The streams: paths at the hub; `*` matches one segment of a path, `**` any number of them
    ///
    /// A single stream may also be named by its whole URL.
    #[arg(required = true, value_parser = stream_name)]
    streams: Vec<String>,

    /// The start: `start`, `now`, or an offset of an earlier run, as shown by --offsets
    #[arg(long, value_name = "OFFSET", default_value = "start")]
    from: ReadFrom,

    /// Start with messages published since: 90s, 10m or 7d ago, or 2030-01-31T12:00:00Z
    ///
    /// Uses the times at which the hub stored the messages. Only for a single stream.
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "from")]
    since: Option<String>,

    /// Exit at the tail instead of following
    #[arg(long)]
    no_follow: bool,

    /// Exit after this many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = args::whole::<NonZeroU64>)]
    max_items: Option<NonZeroU64>,

    /// Prefix each message with its stream, and with the offset for --from
    #[arg(short = 'i', long)]
    offsets: bool,

    /// Prefix each message with the time of its arrival (UTC)
    #[arg(short, long)]
    timestamps: bool,

    /// Print each message as an object with its stream and offset, one per line
    #[arg(long, conflicts_with_all = ["offsets", "timestamps"])]
    envelope: bool,

    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// Colour JSON; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: args::Color,

    #[command(flatten)]
    hub: Hub,
}

pub(crate) async fn run(tail: Tail, mut interrupt: Interrupt) -> Result<(), Failure> {
    let settings = args::Output {
        output: None,
        quiet: true,
        raw: false,
        timestamps: tail.timestamps,
        events: tail.offsets,
        color: tail.color,
    };
    let mut output = Output::open(&settings)?;
    let printer = Printer::new(&settings, output.is_terminal());
    let done = tokio::select! {
        done = print(&tail, &printer, &mut output) => done,
        number = interrupt.wait() => Err(Failure::signal(number)),
    };
    // Items that are already printed stay, regardless of the outcome.
    output.finish(done)
}

async fn print(tail: &Tail, printer: &Printer, output: &mut Output) -> Result<(), Failure> {
    let client = tail.hub.client()?;
    match &*tail.streams {
        [stream] if !stream.contains('*') && !tail.envelope => {
            one(tail, &client, stream, printer, output).await
        }
        _ if tail.since.is_some() => Err(Failure::usage(
            "--since is for a single stream, named without `*`, and not for --envelope",
        )),
        streams => many(tail, &client, streams, printer, output).await,
    }
}

/// Follows one stream until it is closed.
async fn one(
    tail: &Tail,
    client: &Client,
    stream: &str,
    printer: &Printer,
    output: &mut Output,
) -> Result<(), Failure> {
    let options = tail.hub.stream(client, stream).reader();
    let from = tail.since.clone().map(ReadFrom::Since);
    let from = from.unwrap_or_else(|| tail.from.clone());
    let options = options.from(from).live(!tail.no_follow);
    let opened = options.open_raw().await;
    let mut reader = opened.map_err(|error| tail.hub.failure(stream, error))?;
    while let Some(message) = reader.next().await {
        let mut next = Some(message);
        while let Some(message) = next {
            let Message { offset, value, .. } = match message {
                // The stream continues with all its messages.
                Err(error) if error.is_reset() => {
                    output.note(&format!("headwater: {stream}: {error}"));
                    next = reader.next_ready();
                    continue;
                }
                message => message?,
            };
            let mut event = Event::new(Str::from_utf8_lossy(value));
            event.event = Str::from(stream);
            event.id = Str::from(offset.as_str());
            let written = output.item(|line| printer.print(&event, line))?;
            if tail.is_enough(output, &written) {
                return Ok(());
            }
            next = reader.next_ready();
        }
        if output.flush()? == Written::OutputClosed {
            return Ok(());
        }
    }
    Ok(())
}

/// A message of one of several streams.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    stream: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Follows several streams, in the order of the hub's log.
async fn many(
    tail: &Tail,
    client: &Client,
    streams: &[String],
    printer: &Printer,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut request = client.get(tail.hub.at("/events"));
    for stream in streams {
        if is_url(stream) {
            return Err(Failure::other(format!(
                "{stream}: of several streams, or with --envelope, each is named by its path"
            )));
        }
        request = request.query("stream", stream.trim_start_matches('/'));
    }
    request = match &tail.from {
        ReadFrom::Now => request.query("after", "now"),
        ReadFrom::Offset(offset) => request.query("after", offset),
        ReadFrom::Start | ReadFrom::Since(_) => request,
    };
    if tail.no_follow {
        request = request.query("live", false);
    }
    let mut events = request.accept("text/event-stream").events().await?;
    while let Some(event) = events.next().await {
        let mut next = Some(event);
        while let Some(event) = next {
            let event = match event {
                Err(error) if error.is_reset() => {
                    output.note(&format!("headwater: {error}"));
                    next = events.next_ready();
                    continue;
                }
                event => event?,
            };
            next = events.next_ready();
            if let Some(notice) = control::notice(&event).filter(|_| !tail.envelope) {
                report!("headwater: {notice}");
                continue;
            }
            let written = output.item(|line| print_one(&event, tail.envelope, printer, line))?;
            if tail.is_enough(output, &written) {
                return Ok(());
            }
        }
        if output.flush()? == Written::OutputClosed {
            return Ok(());
        }
    }
    match tail.no_follow {
        true => all_exist(tail, client, streams).await,
        false => Ok(()),
    }
}

/// Checks that all streams exist that aren't named by a pattern: `/events` leaves out the others.
async fn all_exist(tail: &Tail, client: &Client, streams: &[String]) -> Result<(), Failure> {
    let mut missing = None;
    for stream in streams.iter().filter(|stream| !stream.contains('*')) {
        match tail.hub.stream(client, stream).info().await {
            Err(error) if is_missing(&error) => {
                if let Some(earlier) = missing.replace(tail.hub.no_stream(stream)) {
                    let _ = earlier.report();
                }
            }
            info => drop(info?),
        }
    }
    missing.map_or(Ok(()), Err)
}

fn print_one(event: &Event, envelope: bool, printer: &Printer, line: &mut Vec<u8>) {
    let message: Option<Envelope<'_>> = serde_json::from_str(&event.data).ok();
    let Some(message) = message.filter(|_| !envelope) else {
        return printer.print(event, line);
    };
    let mut shown = Event::new(Str::from(message.data.get()));
    shown.event = Str::from(&*message.stream);
    shown.id = event.id.clone();
    printer.print(&shown, line);
}

/// Parses a time (RFC 3339), given directly or as a time ago.
fn since(text: &str) -> Result<String, String> {
    if text.get(4..5) == Some("-") {
        // A date. The hub parses it, and reports an invalid one.
        return Ok(text.to_owned());
    }
    let ago = args::duration(text)
        .map_err(|error| format!("{error}; a time is like 2030-01-31T12:00:00Z"))?;
    let time = SystemTime::now().checked_sub(ago);
    Ok(time::text(time.unwrap_or(UNIX_EPOCH)))
}

impl Tail {
    /// Returns `true` if no more messages are wanted.
    fn is_enough(&self, output: &Output, written: &Written) -> bool {
        *written == Written::OutputClosed || self.max_items.map(u64::from) == Some(output.items())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_duration_ago() {
        let time = "2030-01-31T12:00:00Z";
        assert_eq!(since(time).unwrap(), time);
        let (minute, day) = (since("1m").unwrap(), since("1d").unwrap());
        assert!(day < minute && minute.ends_with('Z'), "{day} {minute}");
        assert_eq!(since("99999999d").unwrap(), "1970-01-01T00:00:00.000Z");
        for bad in ["", "yesterday", "1y", "-1h"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
