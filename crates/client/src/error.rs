use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use headwater_wire::{DecodeError, Event, Format, json::CheckError};
use http::StatusCode;

use crate::{
    egress::Refused,
    gather::Answer,
    notice::Notice,
    problem::{Plain, Problem},
};

pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// What went wrong with a request or in the middle of its answer.
///
/// The message says what, where and, if the client can know, what would be right. It never holds
/// the URL's user, password, query or fragment, nor any header. [`source`](StdError::source) has
/// the error below, if there is one. `Display` ends with the innermost cause; `Debug`, which is what
/// Rust prints of an error that `main` returns, names all of them. Both are one line.
///
/// After an error the stream is over and gives `None`, with four exceptions: an item that doesn't
/// deserialise ([`is_deserialize`](Self::is_deserialize)), word that the stream starts over
/// ([`is_reset`](Self::is_reset)), word of what is gone ([`is_notice`](Self::is_notice)), and a damaged record of a JSON text
/// sequence, after which the standard says how to continue (RFC 7464 §2.1).
///
/// Cloning it is cheap.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    /// The method and the redacted URL.
    place: Option<String>,
    /// How often in a row connecting failed; 0 where that is no question.
    attempts: u32,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// What a gathered call was answered, where that is no success.
    answer: Option<Answer>,
    /// The number of the message that a writer couldn't store, from 1.
    message: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The request can't be made; the text says what is wrong with it.
    Request(String),
    /// No response: not connected, or the connection broke before the head.
    Connect,
    /// Too many redirects, or one to where the client doesn't go.
    Redirect,
    /// The client's egress doesn't allow it; the source says why.
    Refused,
    Status {
        status: StatusCode,
        problem: Option<Problem>,
        /// The start of a body in words, where there's no problem.
        said: Option<String>,
    },
    ContentType {
        found: Option<String>,
        wanted: Wanted,
    },
    /// Nothing came for so long.
    Timeout {
        idle: Duration,
        waited_for: &'static str,
    },
    /// All of it took longer than it may.
    Overdue {
        limit: Duration,
        what: Overdue,
    },
    /// What gives the calls to gather gave none.
    Source,
    /// The connection broke in the middle of the body.
    Truncated,
    Decode(DecodeError),
    /// The whole body is larger than the cap.
    BodyTooLarge {
        limit: usize,
    },
    BodyNotUtf8 {
        offset: usize,
    },
    /// A body that should be one JSON text.
    BodyNotJson(CheckError),
    Deserialize {
        /// The number of the item, from 1; none if it is a whole body.
        item: Option<u64>,
        /// Where in it, as in `bids[2].price`; empty: at the top.
        path: String,
    },
    /// The server reported an error in the middle of the stream.
    Problem(Problem),
    /// The producer has published other messages than a writer that repeats was given.
    PublishedOther {
        published: u64,
    },
    /// The producer has published more messages than a writer that repeats was given.
    PublishedMore {
        published: u64,
        given: u64,
    },
    /// The hub knows another append of this number.
    Reused,
    /// The server says nothing of what a producer has published.
    NoProducers,
    /// The position that was resumed from is none of the stream, which starts over; the text says why.
    Reset(String),
    /// An event that says something of the stream, and is no item.
    Notice(Event),
    /// Nothing can be appended any more.
    StreamClosed,
    /// A later life of this producer, or another writer by its name, has appended.
    Fenced {
        current: Option<u64>,
    },
    /// The hub doesn't know what it has acknowledged to this writer.
    Forgotten {
        expected: u64,
        sent: u64,
    },
    /// A message that should be JSON and isn't.
    MessageNotJson(CheckError),
    /// The server says success, but not as a hub does.
    NoHub,
    /// The writer gave up before; that error was given.
    WriterOver,
}

/// What has a time to be done in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Overdue {
    /// One call, with all its attempts.
    Call,
    /// All calls, of which this one was begun or waited.
    Run,
    /// All calls; this one and those behind it weren't read from their source.
    Unread,
}

/// What the client could have read.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    AnyFormat,
    Format(Format),
    Uncompressed,
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Self {
        Self(Arc::new(Inner {
            kind,
            place: None,
            attempts: 0,
            source: None,
            answer: None,
            message: None,
        }))
    }

    pub(crate) fn request(what: impl Into<String>) -> Self {
        Self::new(Kind::Request(what.into()))
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        Self::new(Kind::Refused).with_source(refused)
    }

    pub(crate) fn undecodable(error: DecodeError) -> Self {
        Self::new(Kind::Decode(error))
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.inner().source = Some(source.into().into());
        self
    }

    pub(crate) fn at(mut self, place: &str) -> Self {
        self.inner().place.get_or_insert_with(|| place.to_owned());
        self
    }

    pub(crate) fn after_attempts(mut self, attempts: u32) -> Self {
        self.inner().attempts = attempts;
        self
    }

    pub(crate) fn with_answer(mut self, answer: Answer) -> Self {
        self.inner().answer = Some(answer);
        self
    }

    pub(crate) fn with_message(mut self, number: u64) -> Self {
        self.inner().message = Some(number);
        self
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// The request itself is wrong: its URL, a header, a setting. Nothing was sent.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.0.kind, Kind::Request(_))
    }

    /// A message that was given to a [writer](crate::hub::Writer) of a stream of JSON is none. Nothing
    /// of it was sent.
    #[must_use]
    pub fn is_message_not_json(&self) -> bool {
        matches!(self.0.kind, Kind::MessageNotJson(_))
    }

    /// There was no response: the connection couldn't be made, or broke before the response's head
    /// was there.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self.0.kind, Kind::Connect)
    }

    /// Too many redirects (more than 10), or one to a URL that isn't `http` or `https`.
    #[must_use]
    pub fn is_redirect(&self) -> bool {
        matches!(self.0.kind, Kind::Redirect)
    }

    /// The client may not go there: its [egress](crate::Egress) doesn't allow the URL, the one that it
    /// is redirected to, or any address that the host's name stands for. The source is the
    /// [`Refused`](crate::egress::Refused) that says why. Nothing was sent there.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.0.kind, Kind::Refused)
    }

    /// The response's status is not a success. [`status`](Self::status) has it.
    #[must_use]
    pub fn is_status(&self) -> bool {
        matches!(self.0.kind, Kind::Status { .. })
    }

    /// The body is in no format that the client can read as asked.
    #[must_use]
    pub fn is_content_type(&self) -> bool {
        matches!(self.0.kind, Kind::ContentType { .. })
    }

    /// No byte came for the whole idle timeout, or connecting took longer than its timeout, or a
    /// gathered call, or all of them, longer than they may.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self.0.kind {
            Kind::Timeout { .. } | Kind::Overdue { .. } => true,
            Kind::Connect => {
                let source = self.0.source.as_deref();
                source
                    .and_then(|source| source.downcast_ref::<reqwest::Error>())
                    .is_some_and(reqwest::Error::is_timeout)
            }
            _ => false,
        }
    }

    /// The body was cut: the connection broke before its end, or it ended inside an item. What came
    /// before is not the whole.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        matches!(self.0.kind, Kind::Truncated)
            || self.decode(DecodeError::is_truncated)
            || self.json(CheckError::is_end)
    }

    /// An item, or a body that is read as a whole, is larger than its limit.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(self.0.kind, Kind::BodyTooLarge { .. }) || self.decode(DecodeError::is_too_large)
    }

    /// A JSON item nests deeper than its limit.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.decode(DecodeError::is_too_deep) || self.json(CheckError::is_too_deep)
    }

    /// The body breaks its format: the bytes are not UTF-8, or not JSON where JSON must be.
    #[must_use]
    pub fn is_decode(&self) -> bool {
        matches!(self.0.kind, Kind::BodyNotUtf8 { .. })
            || self.decode(|error| error.is_utf8() || error.is_syntax())
            || self.json(|error| error.is_utf8() || error.expected().is_some())
    }

    /// An item is complete and valid but isn't what the type wants. [`item`](Self::item) and
    /// [`path`](Self::path) say where. The stream goes on with the next item.
    #[must_use]
    pub fn is_deserialize(&self) -> bool {
        matches!(self.0.kind, Kind::Deserialize { .. })
    }

    /// The position from which the client resumed is none of the stream as it is now: it was deleted and created again, the
    /// server's data was removed, or what followed the position is gone. The stream continues: all that there is follows,
    /// from its start, so items can come that came before.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        matches!(self.0.kind, Kind::Reset(_))
    }

    /// The server of many streams says in this place that messages of a stream, or a stream, are gone: an event of the type
    /// [`headwater:trimmed`](crate::control::TRIMMED_EVENT) or [`headwater:deleted`](crate::control::DELETED_EVENT), which is no
    /// item. [`notice`](Self::notice) has it. The stream continues.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        matches!(self.0.kind, Kind::Notice(_))
    }

    /// The event that is no [item](Self::is_notice). Its data is JSON; its id resumes after it.
    #[must_use]
    pub fn notice(&self) -> Option<&Event> {
        match &self.0.kind {
            Kind::Notice(event) => Some(event),
            _ => None,
        }
    }

    /// The stream of a hub is closed: nothing can be appended any more.
    #[must_use]
    pub fn is_stream_closed(&self) -> bool {
        matches!(self.0.kind, Kind::StreamClosed)
    }

    /// A writer of a hub was shut out: another one with the same producer id has taken its place, or publishes at the
    /// same time.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self.0.kind, Kind::Fenced { .. } | Kind::Reused)
    }

    /// A [repeating](crate::hub::WriterOptions::repeating) writer was not given the messages that its producer has
    /// published before, or not all of them. Nothing of what it was given was stored.
    #[must_use]
    pub fn is_not_repeated(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::PublishedOther { .. } | Kind::PublishedMore { .. }
        )
    }

    /// The number of the message that could not be stored, from 1, among those that a [writer](crate::hub::Writer) was
    /// given.
    #[must_use]
    pub fn message_number(&self) -> Option<u64> {
        self.0.message
    }

    /// The hub doesn't know what it has acknowledged to this writer: the stream was made anew, or
    /// the hub has lost it.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        matches!(self.0.kind, Kind::Forgotten { .. })
    }

    /// The server explained itself: [`problem`](Self::problem) is there. Without
    /// [`is_status`](Self::is_status) it did so in the middle of a stream, by `event: headwater:error`.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        self.problem().is_some()
    }

    /// The status of a response that was not a success.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self.0.kind {
            Kind::Status { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The source of calls that are [gathered](crate::gather()) gave an error in the place of a call.
    #[must_use]
    pub fn is_source(&self) -> bool {
        matches!(self.0.kind, Kind::Source)
    }

    /// The answer to a [gathered](crate::gather()) call, where its status is no success: headers, and
    /// of the body as much as was read.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        self.0.answer.as_ref()
    }

    /// What the server says about the error.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.0.kind {
            Kind::Status { problem, .. } => problem.as_ref(),
            Kind::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The number of the item at fault; the first of the stream is 1.
    #[must_use]
    pub fn item(&self) -> Option<u64> {
        match &self.0.kind {
            Kind::Deserialize { item, .. } => *item,
            Kind::Decode(error) => Some(error.item()),
            _ => None,
        }
    }

    /// Where inside the item the fault is, as in `bids[2].price`; `""` is the item as a whole.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Deserialize { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether another attempt may fare better.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Connect | Kind::Timeout { .. } | Kind::Truncated
        )
    }

    /// A word for programs and a title for people, the same for all errors of this kind.
    pub(crate) fn class(&self) -> (&'static str, &'static str) {
        if self.is_timeout() {
            ("timeout", "It took too long")
        } else if self.is_status() {
            ("status", "The status is not a success")
        } else if self.is_connect() {
            ("connect", "There was no response")
        } else if self.is_truncated() {
            ("cut", "The body is not complete")
        } else if self.is_too_large() {
            ("too-large", "The body is too large")
        } else if self.is_content_type() {
            ("content", "The body is in no format that can be read")
        } else if self.is_refused() {
            ("refused", "The call may not be made")
        } else if self.is_redirect() {
            ("redirect", "The redirect can't be followed")
        } else if self.is_request() || self.is_source() {
            ("call", "There is no such call to be made")
        } else {
            ("failed", "The call failed")
        }
    }

    fn decode(&self, test: impl Fn(&DecodeError) -> bool) -> bool {
        matches!(&self.0.kind, Kind::Decode(error) if test(error))
    }

    fn json(&self, test: impl Fn(&CheckError) -> bool) -> bool {
        matches!(&self.0.kind, Kind::BodyNotJson(error) if test(error))
    }

    /// The innermost cause that says more than the error itself.
    fn root(&self) -> Option<&(dyn StdError + 'static)> {
        let mut error = StdError::source(self)?;
        while let Some(source) = error.source() {
            error = source;
        }
        Some(error)
    }

    /// Where, and what; without the causes.
    fn fmt_message(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        self.fmt_kind(f)
    }

    fn fmt_attempts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.attempts {
            0 | 1 => Ok(()),
            attempts => write!(f, " (gave up after {attempts} attempts in a row)"),
        }
    }

    fn fmt_kind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            Kind::Request(what) => f.write_str(what),
            Kind::Connect if self.is_timeout() => f.write_str("connecting took too long"),
            Kind::Connect => f.write_str("no response"),
            Kind::Redirect => f.write_str("can't follow the redirect"),
            Kind::Refused => f.write_str("the client may not go there"),
            Kind::Status {
                status,
                problem,
                said,
            } => {
                write!(f, "the server answered {status}")?;
                match (problem, said) {
                    (Some(problem), _) => write!(f, ": {problem}"),
                    (None, Some(said)) => write!(f, ": {}", Plain(said)),
                    (None, None) => Ok(()),
                }
            }
            Kind::ContentType { found, wanted } => wanted.fmt(found.as_deref(), f),
            Kind::Timeout { idle, waited_for } => {
                write!(f, "waited {idle:?} for {waited_for}, and no byte came")
            }
            Kind::Overdue { limit, what } => match what {
                Overdue::Call => write!(f, "not done within {limit:?}, its attempts in all"),
                Overdue::Run => write!(f, "not done within the {limit:?} for all calls"),
                Overdue::Unread => write!(
                    f,
                    "the {limit:?} for all calls are over: from this one on none was read"
                ),
            },
            Kind::Source => f.write_str("no call came from the source"),
            Kind::Truncated => f.write_str("the body was cut: it is not complete"),
            Kind::Decode(error) => write!(f, "{error}"),
            Kind::BodyTooLarge { limit } => {
                write!(f, "the body is larger than the limit of {limit} bytes")
            }
            Kind::BodyNotUtf8 { offset } => write!(f, "byte {offset}: not valid UTF-8"),
            Kind::BodyNotJson(error) => write!(f, "the body is not JSON: {error}"),
            Kind::Deserialize { item, path } => {
                match item {
                    Some(item) => write!(f, "item {item}")?,
                    None => f.write_str("the body")?,
                }
                if path.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", at {}", Plain(path))
                }
            }
            Kind::Problem(problem) => {
                write!(f, "the server reports an error in the stream: {problem}")
            }
            Kind::Reset(detail) => write!(f, "the stream starts over: {}", Plain(detail)),
            Kind::Notice(event) => match Notice::of(event) {
                Some(notice) => write!(f, "{notice}"),
                None => f.write_str("an event of the server that is no item"),
            },
            Kind::StreamClosed => {
                f.write_str("the stream is closed: nothing can be appended any more")
            }
            Kind::PublishedOther { published } => write!(
                f,
                "the producer has published other messages ({published} in all) than those that were given now, of which \
                 nothing is stored: another input needs another producer id"
            ),
            Kind::PublishedMore { published, given } => write!(
                f,
                "the producer has published {published} messages, and only {given} were given now: whether they are the \
                 first of those can't be told; nothing more is stored"
            ),
            Kind::Reused => f.write_str(
                "shut out: another writer with this producer id publishes other messages at the same time",
            ),
            Kind::NoProducers => f.write_str(
                "the server doesn't say what a producer has published, which a writer that repeats needs: it's no Headwater hub",
            ),
            Kind::Fenced { current } => {
                f.write_str("shut out: another writer with this producer id has taken over")?;
                match current {
                    Some(epoch) => write!(f, " (its epoch is {epoch})"),
                    None => Ok(()),
                }
            }
            Kind::Forgotten { expected, sent } => write!(
                f,
                "the hub doesn't know what it has acknowledged: it expects append {expected} of \
                 this writer, and {sent} is due; the stream was created again, or it was lost"
            ),
            Kind::MessageNotJson(error) => write!(f, "the message is not JSON: {error}"),
            Kind::NoHub => f.write_str(
                "the answer doesn't confirm the append, as a hub's does: is this a stream's URL?",
            ),
            Kind::WriterOver => {
                f.write_str("the writer has given up before, with an error that was given then")
            }
        }
    }
}

impl Wanted {
    fn fmt(&self, found: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = match found {
            Some(found) => &format!("{}", Plain(found)),
            None => "no content type",
        };
        match self {
            Self::Uncompressed => {
                write!(
                    f,
                    "the body is compressed ({found}), and the client decodes none that is"
                )
            }
            Self::Format(format) => {
                write!(
                    f,
                    "the body is {found}, but {} was wanted",
                    format.media_types()[0]
                )
            }
            Self::AnyFormat => {
                write!(
                    f,
                    "the body is {found}, which is not a stream of items; it should be "
                )?;
                let last = Format::ALL.len() - 1;
                for (n, format) in Format::ALL.iter().enumerate() {
                    let comma = if n == 0 {
                        ""
                    } else if n == last {
                        " or "
                    } else {
                        ", "
                    };
                    write!(f, "{comma}{}", format.media_types()[0])?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_message(f)?;
        // A decode error is its own message; elsewhere the cause is what a person wants to know.
        if !matches!(
            self.0.kind,
            Kind::Decode(_) | Kind::BodyNotJson(_) | Kind::MessageNotJson(_)
        ) && let Some(root) = self.root()
        {
            write!(f, ": {}", Plain(&root.to_string()))?;
        }
        self.fmt_attempts(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = fmt::from_fn(|f| self.fmt_message(f)).to_string();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            let message = Plain(&error.to_string()).to_string();
            // Some errors say what their cause says.
            if !text.ends_with(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            cause = error.source();
        }
        f.write_str(&text)?;
        self.fmt_attempts(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match (&self.0.kind, &self.0.source) {
            (Kind::Decode(error), _) => Some(error),
            (Kind::BodyNotJson(error) | Kind::MessageNotJson(error), _) => Some(error),
            (_, Some(source)) => Some(&**source),
            (_, None) => None,
        }
    }
}

#[cfg(test)]
mod tests;
