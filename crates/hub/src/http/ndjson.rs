//! `POST` of NDJSON: each line is a message, appended while the rest is still arriving.

use axum::{body::Body, response::IntoResponse, response::Response};
use bytes::Bytes;
use futures_util::FutureExt;
use headwater::{Json, StatusCode, schema::CheckBudget};
use headwater_log::{Append, Error, Info, Mark, Outcome, Receipt};
use headwater_wire::{Limits, ndjson::Splitter};
use schemars::JsonSchema;
use serde::Serialize;

use super::{append::note, schema};
use crate::{
    error::{self, Failure},
    limits::{LINES, LINES_BYTES, SMALL_BODY},
    protocol::json,
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

/// Appends a body's lines as they arrive.
///
/// # Errors
/// Errors contain the number of messages that were appended, which stay, and the number of the line
/// that caused the error, if one did.
pub(crate) async fn append(
    hub: &HubState,
    info: &Info,
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
        info,
        meter: &sender.meter,
        appended: 0,
        next: info.at(info.tail),
        budget: CheckBudget::for_text(0),
    };
    loop {
        // Lines may arrive at any pace. A large incomplete line has to arrive as any other body.
        match lines.buffered() > SMALL_BODY {
            true => sender.clock.resume(),
            false => sender.clock.suspend(),
        }
        let piece = match body::next(&mut body).await {
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
    info: &'a Info,
    meter: &'a Meter,
    appended: u64,
    next: Mark,
    /// The remaining work that checks of the lines may do.
    budget: CheckBudget,
}

impl Kept<'_> {
    /// Appends all complete lines.
    async fn append_all(&mut self, lines: &mut Splitter) -> Result<(), Failure> {
        let schema = self.hub.schemas.of(self.info).await;
        let schema = schema.map_err(|problem| self.blame(problem.into(), None))?;
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
            let is_last = messages.is_empty();
            if !is_last {
                self.append_lines(messages, &numbers).await?;
            }
            if let Some((failure, number)) = bad {
                return Err(self.blame(failure, Some(number)));
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Appends lines with these numbers in one step. If one of them is too long for the log, only
    /// the ones before it.
    async fn append_lines(
        &mut self,
        mut messages: Vec<Bytes>,
        numbers: &[u64],
    ) -> Result<(), Failure> {
        let count = messages.len() as u64;
        let append = self.meant(Append::new(messages.clone()));
        let answer = self.hub.log.append(&self.info.name, append).await;
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
            self.append(Append::new(messages)).await?;
        }
        let line = long.and_then(|long| numbers.get(long).copied());
        Err(self.blame(error.into(), line))
    }

    async fn append(&mut self, append: Append) -> Result<Receipt, Failure> {
        let count = append.messages.len() as u64;
        let append = self.meant(append);
        let answer = self.hub.log.append(&self.info.name, append).await;
        self.count(answer, count)
    }

    /// Names the stream whose type and schema the lines were checked by.
    fn meant(&self, mut append: Append) -> Append {
        append.stream = Some(self.info.id);
        append
    }

    /// Counts appended messages.
    fn count(&mut self, answer: Result<Outcome, Error>, count: u64) -> Result<Receipt, Failure> {
        match answer {
            Ok(Outcome::Appended(receipt) | Outcome::Duplicate(receipt)) => {
                self.appended += count;
                self.meter.owe_messages(count);
                self.next = receipt.mark();
                Ok(receipt)
            }
            Ok(Outcome::Refused(refusal)) => Err(self.blame(error::refusal(&refusal), None)),
            Err(error) => Err(self.blame(error.into(), None)),
        }
    }

    /// Closes the stream if requested, and reports how much was appended.
    async fn finish(mut self, wanted: Append) -> Result<Response, Failure> {
        let receipt = match wanted.close {
            true => {
                let receipt = self.append(wanted).await?;
                self.hub.ingest_jobs.over(&self.info.name);
                Some(receipt)
            }
            false => None,
        };
        let next_offset = self.next.to_string();
        let mut response = Json(Count {
            appended: self.appended,
            next_offset,
        })
        .into_response();
        *response.status_mut() = StatusCode::OK;
        match receipt {
            Some(receipt) => note(response.headers_mut(), &receipt),
            None => {
                let value = error::offset_value(self.next);
                response
                    .headers_mut()
                    .insert(crate::protocol::header_names::STREAM_NEXT_OFFSET, value);
            }
        }
        Ok(response)
    }

    /// Adds the number of appended messages to a failure, and the line that caused it.
    fn blame(&self, failure: Failure, line: Option<u64>) -> Failure {
        let failure = failure
            .with("appended", self.appended)
            .with("next_offset", self.next.to_string());
        match line {
            Some(line) => failure.with("line", line),
            None => failure,
        }
    }
}
