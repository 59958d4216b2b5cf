//! `POST` of NDJSON: each line is a message, appended while the rest is still arriving.

use std::sync::Arc;

use axum::{body::Body, response::IntoResponse, response::Response};
use bytes::Bytes;
use futures_util::FutureExt;
use headwater::{Json, StatusCode, schema::CheckBudget};
use headwater_log::{Append, Error, Info, Mark, Outcome, Receipt};
use headwater_wire::{Limits, ndjson::Splitter};
use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::{append::note, create, schema};
use crate::{
    error::{self, Failure},
    limits::{LINES, LINES_BYTES, SMALL_BODY},
    protocol::{json, media_type::is_json, path::StreamPath},
    requests::{body, lines::next_line, peer::Sender, rates::Meter},
    state::HubState,
};

/// The result of an NDJSON body.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Count {
    /// Number of messages that were appended.
    appended: u64,
    /// The offset after the last of them.
    next_offset: String,
}

/// The stream of the lines.
pub(crate) enum Target<'a> {
    Existing(Arc<Info>),
    /// A JSON stream, created with the first line. A body that is refused before it has one creates nothing.
    Missing(&'a StreamPath, &'a HeaderMap),
}

/// Appends a body's lines as they arrive.
///
/// # Errors
/// Errors contain the number of messages that were appended, which stay, and the number of the line
/// that caused the error, if one did.
pub(crate) async fn append(
    hub: &HubState,
    target: Target<'_>,
    wanted: Append,
    sender: &Sender,
    mut body: Body,
) -> Result<Response, Failure> {
    if wanted.producer.is_some() || wanted.seq.is_some() {
        let detail =
            "lines of NDJSON are many appends: Producer-* and Stream-Seq are for a single one";
        return Err(Failure::bad_request(detail));
    }
    let limits = &hub.options.limits;
    let mut lines = Splitter::new(Limits::default().with_max_item_bytes(limits.line_bytes));
    let mut held = hub.bodies.hold(limits, sender.peer);
    let mut kept = Kept {
        hub,
        target,
        location: None,
        meter: &sender.meter,
        appended: 0,
        next: None,
        budget: CheckBudget::for_text(0),
    };
    loop {
        // Lines may arrive at any pace. A large incomplete line has to arrive as any other body.
        match lines.buffered() > SMALL_BODY {
            true => sender.clock.resume(),
            false => sender.clock.suspend(),
        }
        let piece = match body::next_of_many(&mut body).await {
            Ok(piece) => piece,
            Err(failure) => return Err(kept.blame(failure, None)),
        };
        let mut ended = piece.is_none();
        lines.push(piece.unwrap_or_default());
        // Data that has arrived meanwhile is included in the same append.
        while !ended && lines.buffered() < LINES_BYTES {
            match body::next(&mut body).now_or_never() {
                Some(Ok(Some(piece))) => lines.push(piece),
                Some(Ok(None)) => ended = true,
                Some(Err(failure)) => {
                    kept.append_all(&mut lines).await?;
                    return Err(kept.blame(failure, None));
                }
                None => break,
            }
        }
        if ended {
            lines.finish();
        }
        if let Err(failure) = held.grow_to(lines.buffered()) {
            return Err(kept.blame(failure, None));
        }
        kept.append_all(&mut lines).await?;
        held.keep(lines.buffered());
        if ended {
            return kept.finish(wanted).await;
        }
    }
}

/// The progress of an NDJSON body.
struct Kept<'a> {
    hub: &'a HubState,
    target: Target<'a>,
    /// Set once this request has created the stream: its URL, if the request tells it.
    location: Option<Option<HeaderValue>>,
    meter: &'a Meter,
    appended: u64,
    /// The offset after the last message that was appended.
    next: Option<Mark>,
    /// The remaining work that checks of the lines may do.
    budget: CheckBudget,
}

impl Kept<'_> {
    /// Appends all complete lines.
    async fn append_all(&mut self, lines: &mut Splitter) -> Result<(), Failure> {
        let limit = self.hub.options.limits.line_bytes;
        loop {
            let mut messages = Vec::new();
            let mut numbers = Vec::new();
            let mut bytes = 0;
            let mut bad = None;
            while messages.len() < LINES && bytes < LINES_BYTES {
                let Some((number, line)) = next_line(lines, limit) else {
                    break;
                };
                match line.and_then(json::message) {
                    Ok(message) => {
                        bytes += message.len();
                        numbers.push(number);
                        messages.push(message);
                    }
                    Err(failure) => {
                        bad = Some((failure, number));
                        break;
                    }
                }
            }
            let is_last = messages.is_empty();
            if let Some(first) = messages.first() {
                let info = self.stream(Some(first)).await;
                let info = info.map_err(|failure| self.blame(failure, numbers.first().copied()))?;
                let schema = self.hub.schemas.of(&info).await;
                let schema = schema.map_err(|problem| self.blame(problem.into(), None))?;
                if let Some(schema) = &schema {
                    self.budget.add_text(bytes);
                    let checked =
                        schema::check_from(schema, &messages, self.appended, &mut self.budget);
                    if let Err((at, failure)) = checked.await {
                        bad = Some((failure, numbers[at]));
                        messages.truncate(at);
                        numbers.truncate(at);
                    }
                }
                if !messages.is_empty() {
                    self.append_lines(&info, messages, &numbers).await?;
                }
            }
            if let Some((failure, number)) = bad {
                return Err(self.blame(failure, Some(number)));
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Returns the stream, and creates it if it is missing. `first` is the first message.
    async fn stream(&mut self, first: Option<&Bytes>) -> Result<Arc<Info>, Failure> {
        let (path, headers) = match &self.target {
            Target::Existing(info) => return Ok(Arc::clone(info)),
            Target::Missing(path, headers) => (*path, *headers),
        };
        let mut headers = headers.clone();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let body = first.map(|first| Bytes::from([b"[", &first[..], b"]"].concat()));
        let body = body.unwrap_or_default();
        let created = create::for_append(self.hub, path, &headers, self.meter, &body);
        let (info, is_new) = created.await?;
        if !is_json(&info.settings.content_type) {
            return Err(Failure::conflict(format!(
                "another request has created the stream, with the type {:?}",
                info.settings.content_type
            )));
        }
        if is_new {
            self.location = Some(path.url(self.hub.options.public_url.as_deref()));
        }
        let info = Arc::new(info);
        self.target = Target::Existing(Arc::clone(&info));
        Ok(info)
    }

    /// Appends lines with these numbers in one step. If one of them is too long for the log, only
    /// the ones before it.
    async fn append_lines(
        &mut self,
        info: &Info,
        mut messages: Vec<Bytes>,
        numbers: &[u64],
    ) -> Result<(), Failure> {
        let count = messages.len() as u64;
        let append = meant(info, Append::new(messages.clone()));
        let answer = self.hub.log.append(&info.name, append).await;
        let (error, limit) = match answer {
            Err(error) if error.is_too_large() => {
                let limit = error.limit().unwrap_or(u64::MAX);
                (error, limit)
            }
            answer => return self.count(answer, count).map(drop),
        };
        let long = messages
            .iter()
            .position(|message| message.len() as u64 > limit);
        if let Some(before @ 1..) = long {
            messages.truncate(before);
            self.append(info, Append::new(messages)).await?;
        }
        let line = long.and_then(|long| numbers.get(long).copied());
        Err(self.blame(error.into(), line))
    }

    async fn append(&mut self, info: &Info, append: Append) -> Result<Receipt, Failure> {
        let count = append.messages.len() as u64;
        let append = meant(info, append);
        let answer = self.hub.log.append(&info.name, append).await;
        self.count(answer, count)
    }

    /// Counts appended messages.
    fn count(&mut self, answer: Result<Outcome, Error>, count: u64) -> Result<Receipt, Failure> {
        match answer {
            Ok(Outcome::Appended(receipt) | Outcome::Duplicate(receipt)) => {
                self.appended += count;
                self.meter.owe_messages(count);
                self.next = Some(receipt.mark());
                Ok(receipt)
            }
            Ok(Outcome::Refused(refusal)) => Err(self.blame(error::refusal(&refusal), None)),
            Err(error) => Err(self.blame(error.into(), None)),
        }
    }

    /// Closes the stream if requested, and reports how much was appended.
    async fn finish(mut self, wanted: Append) -> Result<Response, Failure> {
        let info = self.stream(None).await?;
        let receipt = match wanted.close {
            true => {
                let receipt = self.append(&info, wanted).await?;
                self.hub.ingest_jobs.over(&info.name);
                Some(receipt)
            }
            false => None,
        };
        let next = self.next.unwrap_or_else(|| info.at(info.tail));
        let mut response = Json(Count {
            appended: self.appended,
            next_offset: next.to_string(),
        })
        .into_response();
        if let Some(location) = self.location {
            *response.status_mut() = StatusCode::CREATED;
            if let Some(url) = location {
                response.headers_mut().insert(header::LOCATION, url);
            }
        }
        match receipt {
            Some(receipt) => note(response.headers_mut(), &receipt),
            None => {
                let value = error::offset_value(next);
                response
                    .headers_mut()
                    .insert(crate::protocol::header_names::STREAM_NEXT_OFFSET, value);
            }
        }
        Ok(response)
    }

    /// Adds the number of appended messages to a failure, and the line that caused it.
    fn blame(&self, failure: Failure, line: Option<u64>) -> Failure {
        let failure = failure.with("appended", self.appended);
        let next = match &self.target {
            Target::Existing(info) => Some(self.next.unwrap_or_else(|| info.at(info.tail))),
            Target::Missing(..) => None,
        };
        let failure = match next {
            Some(next) => failure.with("next_offset", next.to_string()),
            None => failure,
        };
        match line {
            Some(line) => failure.with("line", line),
            None => failure,
        }
    }
}

/// Names the stream whose type and schema the lines were checked by.
fn meant(info: &Info, mut append: Append) -> Append {
    append.stream = Some(info.id);
    append
}
