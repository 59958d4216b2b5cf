//! `POST` of NDJSON: each line is a message, appended while the rest is still arriving.

use axum::{body::Body, response::IntoResponse, response::Response};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use headwater::{Json, StatusCode, schema::CheckBudget};
use headwater_log::{Append, Error, Info, Mark, Outcome, Receipt};
use headwater_wire::json::without_bom;
use memchr::memchr;
use schemars::JsonSchema;
use serde::Serialize;

use super::{append::note, body, peer::Sender, schema};
use crate::{
    error::{self, Failure},
    limits::{LINES, LINES_BYTES, SMALL_BODY},
    protocol::json,
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
    let mut lines = Lines::new(limits.line_bytes);
    let mut held = hub.bodies.hold(limits, sender.peer);
    let mut kept = Kept {
        hub,
        info,
        appended: 0,
        next: info.at(info.tail),
        budget: CheckBudget::for_text(0),
    };
    loop {
        // Lines may arrive at any pace. A large incomplete line has to arrive as any other body.
        match lines.len() > SMALL_BODY {
            true => sender.clock.resume(),
            false => sender.clock.suspend(),
        }
        let piece = match body::next(&mut body).await {
            Ok(piece) => piece,
            Err(failure) => return Err(kept.blame(failure, None)),
        };
        let is_end = piece.is_none();
        lines.push(&piece.unwrap_or_default(), is_end);
        // Data that has arrived meanwhile is included in the same append.
        let mut ended = is_end;
        while !ended && lines.len() < LINES_BYTES {
            match body::next(&mut body).now_or_never() {
                Some(Ok(Some(piece))) => lines.push(&piece, false),
                Some(Ok(None)) => {
                    lines.push(&[], true);
                    ended = true;
                }
                Some(Err(failure)) => {
                    kept.append_all(&mut lines).await?;
                    return Err(kept.blame(failure, None));
                }
                None => break,
            }
        }
        if let Err(failure) = held.grow_to(lines.len()) {
            return Err(kept.blame(failure, None));
        }
        kept.append_all(&mut lines).await?;
        held.keep(lines.len());
        if ended {
            return kept.finish(wanted).await;
        }
    }
}

/// The progress of an NDJSON body.
struct Kept<'a> {
    hub: &'a HubState,
    info: &'a Info,
    appended: u64,
    next: Mark,
    /// The remaining work that checks of the lines may do.
    budget: CheckBudget,
}

impl Kept<'_> {
    /// Appends all complete lines.
    async fn append_all(&mut self, lines: &mut Lines) -> Result<(), Failure> {
        let schema = self.hub.schemas.of(self.info).await;
        let schema = schema.map_err(|problem| self.blame(problem.into(), None))?;
        loop {
            let mut messages = Vec::new();
            let mut numbers = Vec::new();
            let mut bytes = 0;
            let mut bad = None;
            while messages.len() < LINES && bytes < LINES_BYTES {
                let Some(line) = lines.next() else { break };
                match line.and_then(json::message) {
                    Ok(message) => {
                        bytes += message.len();
                        numbers.push(lines.number);
                        messages.push(message);
                    }
                    Err(failure) => {
                        bad = Some((failure, lines.number));
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
        let append = Append::new(messages.clone());
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
        let answer = self.hub.log.append(&self.info.name, append).await;
        self.count(answer, count)
    }

    /// Counts appended messages.
    fn count(&mut self, answer: Result<Outcome, Error>, count: u64) -> Result<Receipt, Failure> {
        match answer {
            Ok(Outcome::Appended(receipt) | Outcome::Duplicate(receipt)) => {
                self.appended += count;
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

/// Splits bytes with any chunk boundaries into lines.
pub(crate) struct Lines {
    bytes: BytesMut,
    /// Number of bytes at the start that contain no end of a line.
    searched: usize,
    ended: bool,
    /// `true` if the start is known not to be a byte order mark, or the mark was removed.
    begun: bool,
    /// The number of the last line that was returned, from 1.
    number: u64,
    limit: usize,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            searched: 0,
            ended: false,
            begun: false,
            number: 0,
            limit,
        }
    }

    pub(crate) fn push(&mut self, piece: &[u8], is_end: bool) {
        self.bytes.extend_from_slice(piece);
        self.ended = is_end;
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the number of the last line that was returned, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Skips a byte order mark at the start. Returns `false` while it isn't known if there is one.
    fn begin(&mut self) -> bool {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        if !self.begun
            && (self.bytes.starts_with(BOM) || self.ended || !BOM.starts_with(&self.bytes))
        {
            let rest = without_bom(&self.bytes).len();
            self.bytes.advance(self.bytes.len() - rest);
            self.begun = true;
        }
        self.begun
    }

    /// Returns the next line that is complete and not blank.
    pub(crate) fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        if !self.begin() {
            return None;
        }
        loop {
            let end = memchr(b'\n', &self.bytes[self.searched..]).map(|at| self.searched + at);
            let is_too_long = end.unwrap_or(self.bytes.len()) > self.limit;
            if is_too_long {
                self.number += 1;
                return Some(Err(Failure::too_large("a line", self.limit)));
            }
            let line = match end {
                Some(end) => {
                    let line = self.bytes.split_to(end).freeze();
                    self.bytes.advance(1);
                    line
                }
                None if self.ended && !self.bytes.is_empty() => self.bytes.split().freeze(),
                None => {
                    self.searched = self.bytes.len();
                    return None;
                }
            };
            self.searched = 0;
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                return Some(Ok(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_chunking_leads_to_the_same_lines() {
        let plain = "1\n\n 22\r\n333\n4";
        for text in [plain, &format!("\u{feff}{plain}")] {
            for size in 1..=text.len() {
                let mut lines = Lines::new(100);
                let mut found = Vec::new();
                let mut take = |lines: &mut Lines| {
                    while let Some(line) = lines.next() {
                        let Ok(line) = line else {
                            panic!("a line was refused")
                        };
                        found.push((lines.number, line.trim_ascii().to_vec()));
                    }
                };
                for piece in text.as_bytes().chunks(size) {
                    lines.push(piece, false);
                    take(&mut lines);
                }
                lines.push(&[], true);
                take(&mut lines);
                let expected: Vec<(u64, Vec<u8>)> = [(1, "1"), (3, "22"), (4, "333"), (5, "4")]
                    .map(|(n, text)| (n, text.into()))
                    .into();
                assert_eq!(found, expected, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_incomplete_byte_order_mark_belongs_to_the_line() {
        for text in [&b"\xef"[..], b"\xef\xbb", b"\xef\xbb1\n", b" \xef\xbb\xbf"] {
            let mut lines = Lines::new(100);
            for byte in text {
                lines.push(&[*byte], false);
                assert!(lines.next().is_none() || *byte == b'\n');
            }
            let mut lines = Lines::new(100);
            lines.push(text, true);
            let Some(Ok(line)) = lines.next() else {
                panic!("no line")
            };
            assert_eq!(line, text.strip_suffix(b"\n").unwrap_or(text));
        }
    }

    #[test]
    fn a_line_is_as_long_as_the_limit_and_no_longer() {
        for (text, is_ok) in [("1234\n", true), ("12345\n", false), ("12345", false)] {
            let mut lines = Lines::new(4);
            lines.push(text.as_bytes(), false);
            assert_eq!(
                lines.next().is_some_and(|line| line.is_ok()),
                is_ok,
                "{text:?}"
            );
        }
    }
}
