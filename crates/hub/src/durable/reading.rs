use std::{sync::Arc, vec};

use futures_core::Stream;
use futures_util::stream;
use headwater::{Item, Problem, StatusCode};
use headwater_log::{
    Expiry, Follower, Info, Lineage, Log, Mark, Message, Offset, ReadFrom, StreamName,
};
use serde_json::value::RawValue;

use crate::{
    error::problem,
    fanout::stream::ReaderPermit,
    ingest::WatchGuard,
    limits::CHUNK_BYTES,
    protocol::{
        close_reason,
        read_query::{Lost, Place},
    },
    state::HubState,
};

/// A read of a durable stream from a position to its end.
pub(super) struct Reading {
    log: Arc<dyn Log>,
    name: StreamName,
    lineage: Lineage,
    follower: Follower,
    /// `true` if the read starts at the current tail. Only this response can report that position.
    is_moment: bool,
    /// The reason for which the read doesn't start at the position that the client requested.
    lost: Option<Lost>,
    position: Offset,
    /// Messages that were read from the log and not returned yet.
    messages: vec::IntoIter<Message>,
    /// `true` if `messages` are the stream's last ones.
    is_complete: bool,
    /// Held for as long as the response is read.
    _permit: ReaderPermit,
    _watch: Option<WatchGuard>,
}

/// Information for a client before the first item.
pub(super) enum Notice {
    Nothing,
    /// The position at which the response starts.
    Position(Mark),
    /// The response starts over.
    Reset(Lost),
}

impl Reading {
    /// Starts a read at a place, or at the stream's start if the stream doesn't contain that place.
    ///
    /// # Errors
    /// The stream is deleted, or there are too many readers.
    pub(super) async fn new(
        hub: &HubState,
        info: &Info,
        place: Place,
        watch: Option<WatchGuard>,
    ) -> Result<Self, Problem> {
        let found = place.find(info);
        let seat = hub.reader_permits.take(hub.options.limits.subscribers);
        let seat = seat.map_err(|failure| failure.into_problem())?;
        let log = &hub.log;
        let follower = log.follow(&info.name).await.map_err(problem)?;
        // The name may belong to a new stream by now, and the follower to that one.
        let now = log.info(&info.name).await.map_err(problem)?;
        if now.id != info.id {
            return Err(gone());
        }
        if matches!(info.settings.expiry, Some(Expiry::Idle(_))) {
            log.touch(&info.name).await.map_err(problem)?;
        }
        Ok(Self {
            log: Arc::clone(log),
            name: info.name.clone(),
            lineage: info.lineage.clone(),
            follower,
            is_moment: place == Place::Now,
            position: found.as_ref().copied().unwrap_or(info.floor),
            lost: found.err(),
            messages: Vec::new().into_iter(),
            is_complete: false,
            _permit: seat,
            _watch: watch,
        })
    }

    /// Returns the notice that the client receives before the first item.
    pub(super) fn notice(&self) -> Notice {
        match &self.lost {
            Some(lost) => Notice::Reset(lost.clone()),
            None if self.is_moment => Notice::Position(self.lineage.at(self.position)),
            None => Notice::Nothing,
        }
    }

    /// Returns the items up to the stream's end, each with the offset after it as its id. If the
    /// stream was closed for a reason, the last item is that error.
    pub(super) fn into_items(
        self,
    ) -> impl Stream<Item = Result<Item<Box<RawValue>>, Problem>> + Send + 'static {
        stream::unfold(Some(Box::new(self)), |reading| async {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(item)) => Some((Ok(item), Some(reading))),
                Ok(None) => None,
                Err(problem) => Some((Err(problem), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Item<Box<RawValue>>>, Problem> {
        loop {
            if let Some(message) = self.messages.next() {
                let next = Offset::new(message.offset.number() + 1);
                // Every message of a JSON stream is JSON.
                let json: Box<RawValue> = serde_json::from_slice(&message.bytes)?;
                return Ok(Some(Item::new(json).id(self.lineage.at(next).to_string())));
            }
            if self.is_complete {
                let info = self.log.info(&self.name).await.map_err(problem)?;
                return close_reason::of(&info).map_or(Ok(None), Err);
            }
            let from = ReadFrom::At(self.position);
            let chunk = self.log.read(&self.name, from, CHUNK_BYTES / 4).await;
            // Checked after the read: messages are only returned if they belong to the followed
            // stream.
            if self.follower.progress().gone {
                return Err(gone());
            }
            let chunk = chunk.map_err(problem)?;
            if chunk.lineage != self.lineage {
                return Err(gone());
            }
            self.position = chunk.next;
            self.is_complete = chunk.at_tail && chunk.closed;
            let is_empty = chunk.messages.is_empty();
            self.messages = chunk.messages.into_iter();
            if is_empty && !self.is_complete {
                self.follower.past(self.position).await;
            }
        }
    }
}

/// Returns the problem that is reported for a stream that doesn't exist any more.
pub(super) fn gone() -> Problem {
    Problem::new(StatusCode::GONE)
        .detail("the stream was deleted, or has expired")
        .permanent()
}
