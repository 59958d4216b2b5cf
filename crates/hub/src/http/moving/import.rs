//! The reader of an export: restores the streams of a body, line by line.

use std::{pin::Pin, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use headwater_auth::Action;
use headwater_log::StreamName;
use headwater_wire::{Limits, ndjson::Splitter};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    incoming::{Fate, Incoming},
    is_movable,
    line::{self, Line},
    may_move_own,
};
use crate::{
    access::Caller,
    error::Failure,
    limits::{IMPORT_AT_ONCE, IMPORT_BYTES, IMPORT_LINE, IMPORT_WAITING},
    protocol::path::{is_reserved, name_of},
    requests::{
        body::{self, Held},
        lines::next_line,
    },
    state::HubState,
};

/// The result of an import.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Summary {
    /// Number of streams that were imported.
    imported: u64,
    /// Number of streams that were there already, by an earlier import.
    unchanged: u64,
    /// Number of streams that were left out because another one has their path.
    skipped: u64,
    /// Number of streams that were left out because they have expired.
    expired: u64,
    /// Number of streams that the export lacks, as they were deleted meanwhile or are damaged.
    dropped: u64,
}

impl Summary {
    fn count(&mut self, fate: Fate) {
        *match fate {
            Fate::Imported => &mut self.imported,
            Fate::Unchanged => &mut self.unchanged,
            Fate::Skipped => &mut self.skipped,
            Fate::Expired => &mut self.expired,
        } += 1;
    }
}

const NO_EXPORT: &str =
    "it isn't an export, whose first line has the members `headwater`, `version` and `time`";

const NO_STREAM: &str = "it belongs to no stream: a line with `stream` comes before it";

/// The completion of a stream, and the bytes of its messages.
type Completion = Pin<Box<dyn Future<Output = (Result<Fate, (u64, Failure)>, usize)> + Send>>;

/// An import on its way.
pub(super) struct Import<'a> {
    hub: &'a Arc<HubState>,
    caller: &'a Caller,
    may_skip: bool,
    is_begun: bool,
    is_complete: bool,
    /// Number of complete streams that were read.
    streams: u64,
    /// The stream whose lines are being read.
    current: Option<Incoming>,
    /// Small streams that are being written at once.
    completions: FuturesUnordered<Completion>,
    /// Bytes of their messages.
    waiting: usize,
    summary: Summary,
}

impl<'a> Import<'a> {
    pub(super) fn new(hub: &'a Arc<HubState>, caller: &'a Caller, may_skip: bool) -> Self {
        Self {
            hub,
            caller,
            may_skip,
            is_begun: false,
            is_complete: false,
            streams: 0,
            current: None,
            completions: FuturesUnordered::new(),
            waiting: 0,
            summary: Summary::default(),
        }
    }

    /// Reads the body to its end.
    ///
    /// # Errors
    /// They have the number of the line, and what was imported before it.
    pub(super) async fn run(mut self, mut body: Body, mut held: Held) -> Result<Summary, Failure> {
        let largest = self.hub.options.limits.body_bytes;
        let limit = largest.saturating_mul(2).saturating_add(IMPORT_LINE);
        let mut lines = Splitter::new(Limits::default().with_max_item_bytes(limit));
        // Messages that wait, here and in streams that are being written.
        let fixed = IMPORT_WAITING + 2 * IMPORT_BYTES;
        held.add(fixed)?;
        let mut last = 0;
        loop {
            let piece = match body::next_of_many(&mut body).await {
                Ok(piece) => piece,
                Err(failure) => return Err(self.fail(failure, None).await),
            };
            let ended = piece.is_none();
            match piece {
                Some(piece) => lines.push(piece),
                None => lines.finish(),
            }
            if let Err(failure) = held.grow_to(fixed + lines.buffered()) {
                return Err(self.fail(failure, None).await);
            }
            while let Some((number, line)) = next_line(&mut lines, limit) {
                last = number;
                let taken = match line {
                    Ok(line) => self.take(number, line).await,
                    Err(failure) => Err((number, failure)),
                };
                if let Err((number, failure)) = taken {
                    return Err(self.fail(failure, Some(number)).await);
                }
            }
            held.keep(fixed + lines.buffered());
            if ended {
                break;
            }
        }
        if !self.is_complete {
            let (detail, line) = match last {
                0 => ("the body is empty: an export has at least two lines", None),
                _ => (
                    "the export ends early, after this line: its last line, with `complete`, is missing",
                    Some(last),
                ),
            };
            return Err(self.fail(Failure::bad_request(detail), line).await);
        }
        while !self.completions.is_empty() {
            if let Err((line, failure)) = self.settle().await {
                return Err(self.fail(failure, Some(line)).await);
            }
        }
        Ok(self.summary)
    }

    /// Lets streams that are being written complete, and adds the progress to the failure.
    async fn fail(mut self, failure: Failure, line: Option<u64>) -> Failure {
        while let Some((done, _)) = self.completions.next().await {
            if let Ok(fate) = done {
                self.summary.count(fate);
            }
        }
        let summary = serde_json::to_value(self.summary).unwrap_or_default();
        let mut failure = failure.with("summary", summary);
        if let Some(line) = line {
            failure = failure.with("line", line);
        }
        match &self.current {
            Some(current) => failure.with("stream", current.name.as_str()),
            None => failure,
        }
    }

    async fn take(&mut self, number: u64, text: Bytes) -> Result<(), (u64, Failure)> {
        let line = Line::read(&text).map_err(|why| (number, self.not_a_line(&why)))?;
        if let Line::End(end) = &line {
            return self.end(number, end).await;
        }
        self.put(number, line, &text)
            .await
            .map_err(|failure| (number, failure))
    }

    /// Returns the failure for a line that can't be read.
    fn not_a_line(&self, why: &str) -> Failure {
        match self.is_begun {
            true => Failure::bad_request(why),
            false => {
                Failure::bad_request(format!("{NO_EXPORT}, and this one can't be read: {why}"))
            }
        }
    }

    async fn put(&mut self, number: u64, line: Line<'_>, text: &Bytes) -> Result<(), Failure> {
        if let Line::Start(start) = line {
            return self.start(&start);
        }
        if !self.is_begun {
            return Err(Failure::bad_request(NO_EXPORT));
        }
        if self.is_complete {
            return Err(Failure::bad_request(
                "a line follows the last one of the export",
            ));
        }
        match (line, &mut self.current) {
            (Line::Message(message), Some(current)) => current.put_message(&message, text).await,
            (Line::Producer(producer), Some(current)) => {
                let producer = producer.image().map_err(Failure::bad_request)?;
                current.put_producer(producer, text).await
            }
            (Line::Stream(stream), None) => {
                let name = self.name(&stream.stream)?;
                let image = stream.image().map_err(Failure::bad_request)?;
                let limits = &self.hub.options.limits;
                self.current = Some(Incoming::new(
                    &self.hub.log,
                    name,
                    image,
                    (number, text),
                    self.may_skip,
                    limits.append_messages,
                ));
                Ok(())
            }
            (Line::Dropped(dropped), Some(current)) => {
                if dropped.dropped != current.name.as_str() {
                    return Err(Failure::bad_request(format!(
                        "`dropped` names another stream than {:?}, whose lines these are",
                        current.name.as_str()
                    )));
                }
                self.summary.dropped += 1;
                match self.current.take() {
                    Some(current) => current.abandon().await,
                    None => Ok(()),
                }
            }
            (Line::Complete(complete), None) => {
                if !complete.complete || complete.streams != self.streams {
                    return Err(Failure::bad_request(format!(
                        "the export has {} streams, and {} were read",
                        complete.streams, self.streams
                    )));
                }
                self.is_complete = true;
                Ok(())
            }
            (_, Some(current)) => Err(Failure::bad_request(format!(
                "the stream {:?} has no last line, with `end`, before this one",
                current.name.as_str()
            ))),
            (_, None) => Err(Failure::bad_request(NO_STREAM)),
        }
    }

    fn start(&mut self, start: &line::Start<'_>) -> Result<(), Failure> {
        if self.is_begun {
            return Err(Failure::bad_request(
                "it is the first line of another export",
            ));
        }
        if start.headwater != line::KIND {
            return Err(Failure::bad_request(format!(
                "it isn't an export: `headwater` isn't {:?}",
                line::KIND
            )));
        }
        if start.version != line::VERSION {
            return Err(Failure::bad_request(format!(
                "the export has the version {}, and this hub reads version {}",
                start.version,
                line::VERSION
            )));
        }
        self.is_begun = true;
        Ok(())
    }

    /// Returns the name of a stream that the caller may import.
    fn name(&self, name: &str) -> Result<StreamName, Failure> {
        if !is_reserved(name) {
            let valid = name_of(name)?;
            let granted = self.caller.check(Action::Admin, Some(name));
            granted.map_err(|denied| Failure::from(denied).with("stream", name))?;
            return Ok(valid);
        }
        if !may_move_own(self.hub, self.caller) || !is_movable(name) {
            return Err(Failure::bad_request(format!(
                "the stream {name:?} is the hub's own, and can't be imported"
            )));
        }
        Ok(StreamName::new(name)?)
    }

    /// Completes the current stream: a small one at the same time as others.
    async fn end(&mut self, number: u64, end: &line::End<'_>) -> Result<(), (u64, Failure)> {
        let Some(current) = self.current.take() else {
            let failure = Failure::bad_request(NO_STREAM);
            return Err((number, failure));
        };
        if let Err(failure) = current.check(end) {
            let failure = failure.with("stream", current.name.as_str());
            return Err((number, failure));
        }
        self.streams += 1;
        if !current.is_whole() {
            let fate = current.complete().await?;
            self.summary.count(fate);
            return Ok(());
        }
        let bytes = current.waiting();
        self.waiting += bytes;
        self.completions
            .push(Box::pin(async move { (current.complete().await, bytes) }));
        while self.completions.len() >= IMPORT_AT_ONCE || self.waiting > IMPORT_WAITING {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for a stream that is being written.
    async fn settle(&mut self) -> Result<(), (u64, Failure)> {
        if let Some((fate, bytes)) = self.completions.next().await {
            self.waiting -= bytes;
            self.summary.count(fate?);
        }
        Ok(())
    }
}
