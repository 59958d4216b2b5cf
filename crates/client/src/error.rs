mod kind;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use headwater_wire::{DecodeError, Event, causes, json::CheckError};
use http::StatusCode;

use crate::{
    egress::Refused,
    gather::Answer,
    problem::{Plain, Problem},
};
pub(crate) use kind::{Kind, Overdue, Wanted, named};

pub(crate) type Source = Box<dyn StdError + Send + Sync>;

/// An error of a request, or in the middle of its response.
///
/// The message describes the fault, its location and, if the client knows it, the remedy. It never
/// contains a header or the URL's user, password, query or fragment. [`source`](StdError::source)
/// returns the underlying error, if there is one. `Display` ends with the innermost cause. `Debug`,
/// which Rust prints for an error that `main` returns, lists all causes. Both are one line.
///
/// An error ends the stream, which then yields `None`, with four exceptions: an item that doesn't
/// deserialise ([`is_deserialize`](Self::is_deserialize)), a report that the stream starts over
/// ([`is_reset`](Self::is_reset)), a notice of deleted data ([`is_notice`](Self::is_notice)), and a
/// damaged record of a JSON text sequence, which the standard allows a reader to skip (RFC 7464
/// §2.1).
///
/// Clones are cheap.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// match headwater_client::get("http://127.0.0.1:8000/ticks?count=10").text().await {
///     Ok(text) => print!("{text}"),
///     Err(error) if error.is_status() => {
///         println!("the server refused it: {:?}, {:?}", error.status(), error.problem());
///     }
///     Err(error) if error.is_connect() || error.is_timeout() => println!("try later: {error}"),
///     Err(error) => return Err(error),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    /// The method and the redacted URL.
    place: Option<String>,
    /// The number of failed attempts to connect in a row; 0 if not applicable.
    attempts: u32,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// The answer to a gathered call, if its status isn't a success.
    answer: Option<Answer>,
    /// The number of the message that a writer couldn't store, from 1.
    message: Option<u64>,
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

    #[doc(hidden)]
    pub fn truncated() -> Self {
        Self::new(Kind::Truncated)
    }

    #[doc(hidden)]
    pub fn idle(idle: Duration, waited_for: &'static str) -> Self {
        Self::new(Kind::Timeout { idle, waited_for })
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

    headwater_wire::predicates! { error => error.0.kind;
        /// Returns `true` if the request itself is wrong: its URL, a header, a setting. Nothing was
        /// sent.
        is_request: Kind::Request(_),
        /// Returns `true` if the source of [gathered](crate::gather()) calls yielded an error in place
        /// of a call.
        is_source: Kind::Source,
        /// Returns `true` if the [source of tokens](crate::Token) failed, or if its token can't be sent.
        /// Nothing was sent in that attempt.
        is_token: Kind::Token(_),
        /// Returns `true` if a message for a JSON stream that was passed to a
        /// [writer](crate::hub::Writer) isn't JSON. No part of the message was sent.
        is_message_not_json: Kind::MessageNotJson(_),
        /// Returns `true` if there was no response: the connection failed, or broke before the
        /// response's head arrived.
        is_connect: Kind::Connect,
        /// Returns `true` after too many redirects (more than 10), or after one that can't be followed.
        is_redirect: Kind::Redirect,
        /// Returns `true` if the client's [egress rules](crate::Egress) don't allow the URL, the target
        /// of a redirect, or any address to which the host's name resolves. The source is the
        /// [`Refused`](crate::egress::Refused) with the reason. Nothing was sent there.
        is_refused: Kind::Refused,
        /// Returns `true` if the response's status is not a success. [`status`](Self::status) returns
        /// it.
        is_status: Kind::Status { .. },
        /// Returns `true` if the body's format or encoding can't be read as requested.
        is_content_type: Kind::ContentType { .. },
    }

    /// Returns `true` if no byte arrived within the idle timeout, if connecting exceeded its
    /// timeout, or if a gathered call, or all of them, exceeded a time limit.
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

    /// Returns `true` if the body is truncated: the connection broke before its end, or the body
    /// ended inside an item. The data received before is incomplete.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        matches!(self.0.kind, Kind::Truncated)
            || self.decode(DecodeError::is_truncated)
            || self.json(CheckError::is_end)
    }

    /// Returns `true` if an item, or a body that is read as a whole, is larger than its limit.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(self.0.kind, Kind::BodyTooLarge { .. }) || self.decode(DecodeError::is_too_large)
    }

    /// Returns `true` if a JSON item is nested deeper than its limit.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.decode(DecodeError::is_too_deep) || self.json(CheckError::is_too_deep)
    }

    /// Returns `true` if the body violates its format: bytes that are not UTF-8, or not JSON where
    /// JSON is required.
    #[must_use]
    pub fn is_decode(&self) -> bool {
        matches!(self.0.kind, Kind::BodyNotUtf8 { .. })
            || self.decode(|error| error.is_utf8() || error.is_syntax())
            || self.json(|error| error.is_utf8() || error.expected().is_some())
    }

    headwater_wire::predicates! { error => error.0.kind;
        /// Returns `true` if an item is complete and valid but doesn't match the type.
        /// [`item`](Self::item) and [`path`](Self::path) locate the fault. The stream continues with
        /// the next item.
        is_deserialize: Kind::Deserialize { .. },
        /// Returns `true` if the position from which the client resumed doesn't exist in the current
        /// stream: the stream was deleted and created again, the server's data was removed, or the
        /// messages after the position are gone. The stream continues with all its messages from the
        /// start, so earlier items can be repeated.
        is_reset: Kind::Reset(_),
        /// Returns `true` if the server of many streams reports here that messages of a stream, or a
        /// whole stream, are gone, or were added elsewhere in the order: an event of the type
        /// [`headwater:trimmed`](crate::control::TRIMMED_EVENT),
        /// [`headwater:deleted`](crate::control::DELETED_EVENT) or
        /// [`headwater:imported`](crate::control::IMPORTED_EVENT), which is not an item.
        /// [`notice`](Self::notice) returns it. The stream continues.
        is_notice: Kind::Notice(_),
    }

    /// The event of a [notice](Self::is_notice). Its data is JSON, and a reader can resume after
    /// its id.
    #[must_use]
    pub fn notice(&self) -> Option<&Event> {
        match &self.0.kind {
            Kind::Notice(event) => Some(event),
            _ => None,
        }
    }

    headwater_wire::predicates! { error => error.0.kind;
        /// Returns `true` if the stream of a hub is closed to appends.
        is_stream_closed: Kind::StreamClosed,
        /// Returns `true` if a writer of a hub was fenced: another writer with the same producer id has
        /// replaced it, or publishes at the same time.
        is_fenced: Kind::Fenced { .. } | Kind::Reused,
        /// Returns `true` if a [repeating](crate::hub::WriterOptions::repeating) writer did not receive
        /// exactly the messages that its producer published before. None of the messages that it
        /// received were stored.
        is_not_repeated: Kind::PublishedOther { .. } | Kind::PublishedMore { .. },
        /// Returns `true` if the hub has lost appends that it acknowledged to this writer, for example
        /// because the stream was deleted and created again.
        is_forgotten: Kind::Forgotten { .. },
    }

    /// The number, from 1, of the message that could not be stored, among those passed to a
    /// [writer](crate::hub::Writer).
    #[must_use]
    pub fn message_number(&self) -> Option<u64> {
        self.0.message
    }

    /// Returns `true` if the server sent a problem document: [`problem`](Self::problem) returns it.
    /// If [`is_status`](Self::is_status) is `false`, it arrived in the middle of a stream, as
    /// `event: headwater:error`.
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

    /// The answer to a [gathered](crate::gather()) call whose status isn't a success, or whose body isn't valid JSON
    /// although its type is JSON: its headers, and as much of its body as was read.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        self.0.answer.as_ref()
    }

    /// The number of failed attempts to connect in a row; 0 if a connection was open.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The server's description of the error.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.0.kind {
            Kind::Status { problem, .. } => problem.as_ref(),
            Kind::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The number of the faulty item. The first of the stream is 1.
    #[must_use]
    pub fn item(&self) -> Option<u64> {
        match &self.0.kind {
            Kind::Deserialize { item, .. } => *item,
            Kind::Decode(error) => Some(error.item()),
            _ => None,
        }
    }

    /// The location of the fault within the item, as in `bids[2].price`. `""` is the item as a
    /// whole.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Deserialize { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Returns `true` if another attempt may succeed.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Connect | Kind::Timeout { .. } | Kind::Token(_) | Kind::Truncated
        )
    }

    /// A code for programs and a title for people, the same for all errors of this kind.
    pub(crate) fn class(&self) -> (&'static str, &'static str) {
        if matches!(self.0.kind, Kind::BodyNotJson(_)) {
            ("json", "The body is not valid JSON")
        } else if self.is_timeout() {
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
            ("content", "The body's format is not supported")
        } else if self.is_refused() {
            ("refused", "The call may not be made")
        } else if self.is_redirect() {
            ("redirect", "The redirect can't be followed")
        } else if self.is_request() || self.is_source() {
            ("call", "The call is invalid")
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

    /// Writes the location and the fault, without the causes.
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
            Kind::Connect if self.is_timeout() => f.write_str("connecting took too long"),
            kind => write!(f, "{kind}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_message(f)?;
        // A decode error is its own message. For other kinds, the root cause is the most specific.
        if !matches!(
            self.0.kind,
            Kind::Decode(_) | Kind::BodyNotJson(_) | Kind::MessageNotJson(_)
        ) && let Some(root) = causes::root(self)
        {
            write!(f, ": {}", Plain(&root.to_string()))?;
        }
        self.fmt_attempts(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = fmt::from_fn(|f| self.fmt_message(f)).to_string();
        for cause in causes::chain(self).skip(1) {
            causes::add(&mut text, &Plain(&cause.to_string()).to_string());
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
