use bytes::Bytes;
use headwater_wire::{Limits, json, ndjson::Splitter};

use crate::relay::upstream::Fault;

/// Splits NDJSON after each LF. A line has to be JSON or blank. A last line without LF has to be
/// complete JSON.
pub(in super::super) struct Lines {
    limits: Limits,
    splitter: Splitter,
}

impl Lines {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            splitter: Splitter::new(limits),
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        self.splitter.push(chunk);
    }

    pub(super) fn finish(&mut self) {
        self.splitter.finish();
    }

    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let line = self.splitter.next().map_err(|error| Fault::ItemTooLarge {
            limit: self.limits.max_item_bytes,
            place: format!("line {}", error.item()),
        })?;
        let Some(line) = line else { return Ok(None) };
        self.check(&line)?;
        Ok(Some(json::escape_line_separators(line)))
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
            Err(error) => Err(Fault::Invalid(format!(
                "line {}, {error}",
                self.splitter.items()
            ))),
        }
    }
}
