use std::{collections::VecDeque, mem};

use bytes::{Buf as _, Bytes};
use headwater_wire::{Limits, json};
use memchr::memchr;

use crate::relay::upstream::Fault;

/// Splits NDJSON after each LF. A line has to be JSON or blank. A last line without LF has to be
/// complete JSON.
pub(in super::super) struct Lines {
    limits: Limits,
    chunks: VecDeque<Bytes>,
    /// The start of a line that continues in the next chunk.
    carry: Vec<u8>,
    lines: u64,
    finished: bool,
}

impl Lines {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            carry: Vec::new(),
            lines: 0,
            finished: false,
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        self.chunks.push_back(chunk);
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        while let Some(chunk) = self.chunks.front_mut() {
            let Some(len) = memchr(b'\n', chunk) else {
                let limit = self.limits.max_item_bytes;
                if self.carry.len() + chunk.len() > limit {
                    return Err(self.too_large());
                }
                self.carry.extend_from_slice(chunk);
                self.chunks.pop_front();
                continue;
            };
            let mut line = chunk.split_to(len + 1);
            if !self.carry.is_empty() {
                self.carry.extend_from_slice(&line);
                line = mem::take(&mut self.carry).into();
            }
            // The limit applies to the line without its LF.
            if line.len() - 1 > self.limits.max_item_bytes {
                return Err(self.too_large());
            }
            return self.whole(line).map(Some);
        }
        if !self.finished || self.carry.is_empty() {
            return Ok(None);
        }
        let line = mem::take(&mut self.carry).into();
        let line = self.whole(line)?;
        // A byte order mark alone is not a line.
        Ok(Some(line).filter(|line| !line.is_empty()))
    }

    /// Checks a complete line, and removes a byte order mark before the first.
    fn whole(&mut self, mut line: Bytes) -> Result<Bytes, Fault> {
        self.lines += 1;
        if self.lines == 1 {
            line.advance(line.len() - json::without_bom(&line).len());
        }
        self.check(&line)?;
        Ok(json::escape_line_separators(line))
    }

    fn check(&self, text: &[u8]) -> Result<(), Fault> {
        let is_last = !text.ends_with(b"\n");
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        match json::check(text, self.limits.max_depth) {
            Ok(()) => Ok(()),
            // The body ends within the line.
            Err(error) if is_last && error.is_end() => Err(Fault::Truncated),
            Err(error) => Err(Fault::Invalid(format!("line {}, {error}", self.lines))),
        }
    }

    fn too_large(&self) -> Fault {
        Fault::ItemTooLarge {
            limit: self.limits.max_item_bytes,
            place: format!("line {}", self.lines + 1),
        }
    }
}
