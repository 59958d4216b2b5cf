//! The kinds of errors, with their messages.

use std::time::Duration;

use headwater_wire::{DecodeError, Event, Format, json::CheckError, status};
use http::StatusCode;

use crate::{
    notice::Notice,
    problem::{Plain, Problem},
};

/// The fault that an [`Error`](super::Error) reports.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Kind {
    /// The request can't be sent; the text describes the fault.
    #[error("{0}")]
    Request(String),
    /// The source of tokens failed, or its token can't be sent; the text describes the fault.
    #[error("{0}")]
    Token(String),
    /// No response: the connection failed, or broke before the head.
    #[error("no response")]
    Connect,
    /// Too many redirects, or one that the client doesn't follow.
    #[error("can't follow the redirect")]
    Redirect,
    /// The client's egress rules don't allow it; the source has the reason.
    #[error("the client may not go there")]
    Refused,
    #[error("the server answered {}{}", named(*status), detail(problem.as_ref(), said.as_deref()))]
    Status {
        status: StatusCode,
        problem: Option<Problem>,
        /// The start of a textual body, if there is no problem.
        said: Option<String>,
    },
    #[error("{}", wanted.text(found.as_deref()))]
    ContentType {
        found: Option<String>,
        wanted: Wanted,
    },
    /// No byte arrived within the idle timeout.
    #[error("no data arrived within {idle:?} while waiting for {waited_for}")]
    Timeout {
        idle: Duration,
        waited_for: &'static str,
    },
    /// The whole operation exceeded its time limit.
    #[error("{}", what.text(*limit))]
    Overdue { limit: Duration, what: Overdue },
    /// The source of gathered calls yielded an error in place of a call.
    #[error("the call can't be read")]
    Source,
    /// The connection broke in the middle of the body.
    #[error("the body was cut: it is not complete")]
    Truncated,
    #[error("{0}")]
    Decode(DecodeError),
    /// The whole body is larger than the limit.
    #[error("the body is larger than the limit of {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("byte {offset}: not valid UTF-8")]
    BodyNotUtf8 { offset: usize },
    /// A body that should be one JSON text, and isn't.
    #[error("the body is not JSON: {0}")]
    BodyNotJson(CheckError),
    #[error("{}", location(*item, path))]
    Deserialize {
        /// The number of the item, from 1; `None` for a whole body.
        item: Option<u64>,
        /// The location within the item, as in `bids[2].price`; empty at the top level.
        path: String,
    },
    /// The server reported an error in the middle of the stream.
    #[error("the server reports an error in the stream: {0}")]
    Problem(Problem),
    /// The producer has published messages that differ from those given to a repeating writer.
    #[error(
        "the producer has published other messages ({published} in all) than those that were given now, of which \
         nothing is stored: another input needs another producer id"
    )]
    PublishedOther { published: u64 },
    /// The producer has published more messages than were given to a repeating writer.
    #[error(
        "the producer has published {published} messages, and only {given} were given now: whether they are the \
         first of those can't be told; nothing more is stored"
    )]
    PublishedMore { published: u64, given: u64 },
    /// The hub has stored a different append under this sequence.
    #[error(
        "shut out: another writer with this producer id publishes other messages at the same time"
    )]
    Reused,
    /// The server doesn't report what a producer has published.
    #[error(
        "the server doesn't report what a producer has published, which a writer that repeats needs: it isn't a \
         Headwater hub"
    )]
    NoProducers,
    /// The position to resume from doesn't exist in the stream, which starts over. The text has the
    /// reason.
    #[error("the stream starts over: {}", Plain(.0))]
    Reset(String),
    /// An event that describes the stream and is not an item.
    #[error("{}", notice(.0))]
    Notice(Event),
    /// The stream is closed to appends.
    #[error("the stream is closed: nothing can be appended any more")]
    StreamClosed,
    /// A later run of this producer, or another writer with its id, has appended.
    #[error(
        "shut out: another writer with this producer id has taken over{}",
        current.map_or(String::new(), |epoch| format!(" (its epoch is {epoch})"))
    )]
    Fenced { current: Option<u64> },
    /// The hub has lost appends that it acknowledged to this writer.
    #[error(
        "the hub doesn't know what it has acknowledged: it expects append {expected} of this writer, and {sent} is \
         due; the stream was created again, or it was lost"
    )]
    Forgotten { expected: u64, sent: u64 },
    /// A message that should be JSON, and isn't.
    #[error("the message is not JSON: {0}")]
    MessageNotJson(CheckError),
    /// The server reports success, but without the headers of a hub.
    #[error("the response doesn't confirm the append as a hub's does: is this a stream's URL?")]
    NoHub,
    /// The writer failed before, and has already returned that error.
    #[error("the writer has already failed, and has returned its error")]
    WriterOver,
}

/// The operation whose time limit was exceeded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Overdue {
    /// One call, with all its attempts.
    Call,
    /// All calls; this one was running or queued.
    Run,
    /// All calls; this one and the later ones weren't read from their source.
    Unread,
}

/// The content that the client could have read.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    AnyFormat,
    Format(Format),
    Uncompressed,
}

/// Returns a status with its name.
pub(crate) fn named(status: StatusCode) -> String {
    match status::renamed(status.as_u16()) {
        Some(name) => format!("{} {name}", status.as_str()),
        None => status.to_string(),
    }
}

/// Returns what the server said about a status, after a colon.
fn detail(problem: Option<&Problem>, said: Option<&str>) -> String {
    match (problem, said) {
        (Some(problem), _) => format!(": {problem}"),
        (None, Some(said)) => format!(": {}", Plain(said)),
        (None, None) => String::new(),
    }
}

/// Returns the location of an item that doesn't deserialise.
fn location(item: Option<u64>, path: &str) -> String {
    let item = item.map_or("the body".to_owned(), |item| format!("item {item}"));
    match path {
        "" => item,
        path => format!("{item}, at {}", Plain(path)),
    }
}

fn notice(event: &Event) -> String {
    Notice::of(event).map_or_else(
        || "an event of the server that is not an item".to_owned(),
        |notice| notice.to_string(),
    )
}

impl Overdue {
    fn text(self, limit: Duration) -> String {
        match self {
            Self::Call => format!("not done within {limit:?}, including all attempts"),
            Self::Run => format!("not done within the {limit:?} for all calls"),
            Self::Unread => {
                format!("the {limit:?} for all calls are over: from this one on none was read")
            }
        }
    }
}

impl Wanted {
    fn text(&self, found: Option<&str>) -> String {
        let body = found.map_or("the body has no Content-Type".to_owned(), |found| {
            format!("the body is {}", Plain(found))
        });
        match self {
            Self::Uncompressed => format!(
                "the body is compressed ({}), and the client doesn't decode compressed bodies",
                Plain(found.unwrap_or_default())
            ),
            Self::Format(format) => {
                format!("{body}, but {} was wanted", format.media_types()[0])
            }
            Self::AnyFormat => {
                let [others @ .., last] = Format::ALL.map(|format| format.media_types()[0]);
                let fault = found.map_or("", |_| ", which is not a stream of items");
                format!(
                    "{body}{fault}; it should be {} or {last}",
                    others.join(", ")
                )
            }
        }
    }
}
