//! Converts the pieces of an upstream's response to items. Performs no I/O.

use headwater_client::{
    Error,
    internals::{Piece, Session},
};
use headwater_wire::{
    Event,
    sse::{self, Block},
};
use http::HeaderMap;
use serde_json::{Value, json};

use super::{Fault, Item, Kind, Resume, dedup_window::DedupWindow, splitter::ItemSplitter};
use crate::limits::UpstreamLimits;

/// The marker by which APIs of language models end a response.
const DONE: &str = "[DONE]";

pub(super) struct Items {
    kind: Kind,
    limits: UpstreamLimits,
    splitter: ItemSplitter,
    /// The item of the last block.
    due: Option<Item>,
    /// Set at the end of the response: with a fault or without.
    #[allow(clippy::option_option, reason = "the end may be one without a fault")]
    over: Option<Option<Fault>>,
    /// The ids of earlier connections' events.
    seen: DedupWindow,
    /// The ids of this connection's events. Several may have the same id.
    fresh: DedupWindow,
    /// The connection whose ids are `fresh`.
    connection: u32,
}

impl Items {
    /// Creates the items of a response.
    pub(super) fn new(kind: Kind, limits: UpstreamLimits) -> Self {
        Self {
            kind,
            splitter: ItemSplitter::new(kind, limits.item_bytes),
            limits,
            due: None,
            over: None,
            seen: DedupWindow::default(),
            fresh: DedupWindow::default(),
            connection: 0,
        }
    }

    /// Creates the items of a feed that resumes.
    pub(super) fn resume(resume: &Resume, limits: UpstreamLimits) -> Self {
        let mut items = Self::new(Kind::Sse, limits);
        for id in resume.seen.iter().chain([&resume.last_event_id]) {
            items.seen.insert(id);
        }
        items
    }

    /// Returns the kind of items that the body is split into.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns `true` if the upstream isn't needed any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Returns the next item. `None`: another piece is needed or, once it is over, there are no
    /// more.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Fault> {
        if let Some(item) = self.due.take() {
            return Ok(Some(item));
        }
        match self.splitter.next() {
            Ok(Some(bytes)) => return Ok(Some(Item { bytes, id: None })),
            Ok(None) => {}
            Err(fault) => self.over = Some(Some(fault)),
        }
        self.over
            .as_mut()
            .and_then(Option::take)
            .map_or(Ok(None), Err)
    }

    /// Receives a piece of the response.
    pub(super) fn piece(&mut self, piece: Piece, session: &mut Session) {
        match piece {
            Piece::Block(block) => self.due = self.block(*block, session),
            Piece::Bytes(bytes) => self.splitter.push(bytes),
            // The session yields none when a body is read unchanged.
            Piece::Event(_) => {}
        }
    }

    /// Receives the end of the response.
    pub(super) fn end(&mut self) {
        self.splitter.finish();
        self.over = Some(None);
    }

    /// Receives the failure of the response. `headers` are those of the newest one.
    pub(super) fn fail(&mut self, error: &Error, headers: &HeaderMap) {
        self.over = Some(Some(Fault::of(error, headers, &self.limits)));
    }

    /// Returns the item for a block of an event stream, or `None` if it is skipped.
    fn block(&mut self, block: Block, session: &mut Session) -> Option<Item> {
        if self.connection != session.connections() {
            self.connection = session.connections();
            self.seen.append(&mut self.fresh);
        }
        let resumes = session.resumes();
        let known = block.id.as_ref().is_some_and(|id| self.seen.contains(id));
        let reserved = block
            .event
            .as_ref()
            .filter(|event| sse::is_reserved(&event.event));
        if let Some(id) = &block.id
            && resumes
            && block.event.is_some()
            && reserved.is_none()
        {
            self.fresh.insert(id);
        }
        match &block.event {
            Some(event) if reserved.is_some() => match end(event) {
                Some(end) => self.over = Some(end),
                // It contains the position, which is stored.
                None if &*event.event == sse::POSITION_EVENT => return None,
                None => {
                    self.over = Some(Some(Fault::Control(event.event.to_string())));
                    return None;
                }
            },
            // It is repeated after a disconnect.
            Some(_) if known && resumes => return None,
            // Heartbeats of a feed, which may run for years, are not stored.
            None if resumes => return None,
            None => {}
            Some(event) => {
                session.progressed();
                if let Some(end) = end(event) {
                    self.over = Some(end);
                }
            }
        }
        let id = Some(session.last_event_id().clone()).filter(|id| !id.is_empty());
        Some(Item {
            bytes: block.bytes,
            id,
        })
    }
}

/// Returns the end, with or without a fault, if an event is the last one. An `end` or `error` event
/// of the upstream's own is an ordinary event.
#[allow(clippy::option_option, reason = "the end may be one without a fault")]
fn end(event: &Event) -> Option<Option<Fault>> {
    if event.is_error() {
        return Some(Some(Fault::Reported(problem(&event.data))));
    }
    let is_done = event.event == Event::DEFAULT_TYPE && event.data.trim() == DONE;
    (event.is_end() || is_done).then_some(None)
}

/// Parses the problem that a Headwater server reports.
fn problem(data: &str) -> Value {
    let problem = serde_json::from_str(data).ok().filter(Value::is_object);
    problem.unwrap_or_else(|| json!({"detail": data}))
}

#[cfg(test)]
mod tests;
