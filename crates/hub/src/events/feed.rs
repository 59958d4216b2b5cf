//! A reader of many streams: a position in the order of all of them. Nothing of it grows, however slow it is.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    sync::Arc,
};

use bytes::Bytes;
use futures_core::Stream;
use headwater::{Format, Problem, StatusCode};
use headwater_log::{Info, Log, Matching, Offset, OrderChunk, OrderFollower, Position, StreamName};
use headwater_wire::sse::{END_EVENT, END_ID};

use super::envelope::{self, Letter};
use crate::{
    error::problem,
    limits::{EVENTS_CHUNK_BYTES, EVENTS_READ_BYTES, EVENTS_SILENT, EVENTS_TRIMMED},
    live::Seat,
};

/// One response.
pub(crate) struct Feed {
    log: Arc<dyn Log>,
    wanted: Matching,
    format: Format,
    /// Before what is sent next.
    position: Position,
    /// Where the client goes on if the connection breaks, as far as it knows.
    told: Option<Position>,
    given: Given,
    /// How many messages were sent.
    items: u64,
    /// What wakes it at the head; without one it ends there.
    follower: Option<OrderFollower>,
    is_over: bool,
    /// Held as long as the response goes on.
    _seat: Seat,
}

impl Feed {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        wanted: Matching,
        format: Format,
        position: Position,
        is_known: bool,
        follower: Option<OrderFollower>,
        seat: Seat,
    ) -> Self {
        Self {
            log,
            wanted,
            format,
            position,
            told: is_known.then_some(position),
            given: Given::default(),
            items: 0,
            follower,
            is_over: false,
            _seat: seat,
        }
    }

    /// The response's body, in chunks of whole events.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Problem>> + Send + 'static {
        futures_util::stream::unfold(Box::new(self), |mut feed| async move {
            let chunk = feed.next().await?;
            Some((chunk, feed))
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        if self.is_over {
            return None;
        }
        match self.chunk().await {
            Ok(Some(bytes)) => Some(Ok(bytes)),
            Ok(None) => {
                self.is_over = true;
                self.end().map(Ok)
            }
            Err(problem) => {
                self.is_over = true;
                Some(Err(problem))
            }
        }
    }

    /// The next events; `None` where it ends.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let wanted = Some(Arc::clone(&self.wanted));
            let read = self
                .log
                .read_order(self.position, EVENTS_READ_BYTES, wanted)
                .await;
            let read = read.map_err(problem)?;
            let at_head = read.at_head;
            let events = self.wrap(read).await?;
            if !events.is_empty() {
                return Ok(Some(events));
            }
            if let Some(place) = self.untold() {
                return Ok(Some(place));
            }
            if !at_head {
                // A log in memory is never pending, and there may be much that isn't wanted.
                tokio::task::yield_now().await;
                continue;
            }
            let Some(follower) = &mut self.follower else {
                return Ok(None);
            };
            if follower.past(self.position).await.is_none() {
                let detail = "the hub is shutting down";
                return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail));
            }
        }
    }

    /// What tells an `EventSource` where it is, if it would start too early after a break: elsewhere than at the "now"
    /// that it had, or with much to be passed over again.
    fn untold(&mut self) -> Option<Bytes> {
        let is_due = match self.told {
            None => true,
            Some(told) => self.position.number() - told.number() >= EVENTS_SILENT,
        };
        if !is_due || self.format != Format::Sse {
            return None;
        }
        self.told = Some(self.position);
        Some(envelope::place(self.position).into())
    }

    /// Makes events of what was read, and goes past it: past as much as one chunk takes.
    async fn wrap(&mut self, read: OrderChunk) -> Result<Bytes, Problem> {
        let mut out = Vec::new();
        // Asked anew for each chunk: a stream can be deleted, and another one created in its place.
        let mut streams = HashMap::new();
        for entry in read.entries {
            if out.len() >= EVENTS_CHUNK_BYTES {
                return Ok(out.into());
            }
            let message = &entry.message;
            let info = match streams.entry(entry.stream.clone()) {
                Slot::Occupied(known) => known.into_mut(),
                Slot::Vacant(slot) => slot.insert(self.info(&entry.stream).await?),
            };
            self.position = Position::new(entry.position.number() + 1);
            // Of a stream that is deleted nothing is sent, even if there is another one of its name.
            let Some(info) = info.as_ref().filter(|info| info.created <= message.time) else {
                continue;
            };
            let letter = Letter {
                id: self.position,
                stream: entry.stream.as_str(),
                offset: Offset::new(message.offset.number() + 1),
                content_type: &info.settings.content_type,
                trimmed: self.given.misses(info, message.offset),
                bytes: &message.bytes,
            };
            envelope::encode(self.format, letter, &mut out);
            self.items += 1;
            self.told = Some(self.position);
        }
        self.position = read.next;
        Ok(out.into())
    }

    /// What is known of a stream, if it is there.
    async fn info(&self, name: &StreamName) -> Result<Option<Info>, Problem> {
        match self.log.info(name).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is_not_found() || error.is_gone() => Ok(None),
            Err(error) => Err(problem(error)),
        }
    }

    /// What makes the response complete, where the format has such a thing.
    fn end(&self) -> Option<Bytes> {
        let id = self.position;
        let data = format!("{{\"items\":{},\"id\":\"{id}\"}}", self.items);
        let marker = format!("event: {END_EVENT}\nid: {END_ID}\ndata: {data}\n\n");
        (self.format == Format::Sse).then(|| marker.into())
    }
}

/// How far the reader is in streams whose oldest messages go, so that it can be told what it missed. The log says nothing
/// of messages that are gone.
#[derive(Debug, Default)]
struct Given(HashMap<StreamName, Offset>);

impl Given {
    /// Whether the message before the one at `offset` is gone, and was not given to this reader.
    ///
    /// `true` once too often where the reader had it on an earlier connection, or there are more such streams than are
    /// remembered; never `false` where something is missing.
    fn misses(&mut self, info: &Info, offset: Offset) -> bool {
        let settings = &info.settings;
        if settings.max_age.is_none() && settings.max_bytes.is_none() {
            return false;
        }
        if self.0.len() >= EVENTS_TRIMMED && !self.0.contains_key(&info.name) {
            self.0.clear();
        }
        let after = Offset::new(offset.number() + 1);
        let before = self.0.insert(info.name.clone(), after);
        // What a fork has from its source was appended to that one, and is no event of the fork's.
        let first = info.fork.as_ref().map_or(Offset::START, |fork| fork.own);
        offset > first && offset <= info.floor && before != Some(offset)
    }
}
