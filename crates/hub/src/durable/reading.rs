use std::{sync::Arc, vec};

use futures_core::Stream;
use futures_util::stream;
use headwater::{Item, Problem, StatusCode};
use headwater_log::{
    Expiry, Follower, Info, Lineage, Log, Mark, Message, Offset, ReadFrom, StreamName,
};
use serde_json::value::RawValue;

use crate::{
    Core,
    error::problem,
    filling::Watch,
    limits::CHUNK_BYTES,
    live::Seat,
    offset::{Lost, Place},
    reason,
};

/// A position in a durable stream, from which its items are given to its end.
pub(super) struct Reading {
    log: Arc<dyn Log>,
    name: StreamName,
    lineage: Lineage,
    follower: Follower,
    /// Whether it started at a moment, which only this response can tell the place of.
    is_moment: bool,
    /// Why it doesn't start where the client wanted.
    lost: Option<Lost>,
    position: Offset,
    /// Messages that were read and not given yet.
    messages: vec::IntoIter<Message>,
    /// Whether there are none behind those.
    is_complete: bool,
    /// Held as long as it is read.
    _seat: Seat,
    _watch: Option<Watch>,
}

/// What a client is told before the first item.
pub(super) enum Notice {
    Nothing,
    /// Where it is.
    Position(Mark),
    /// That it starts over.
    Reset(Lost),
}

impl Reading {
    /// A reading of a stream from a place, or from its start if it doesn't have that place.
    ///
    /// # Errors
    /// The stream is gone, or there are too many readers.
    pub(super) async fn new(
        core: &Core,
        info: &Info,
        place: Place,
        watch: Option<Watch>,
    ) -> Result<Self, Problem> {
        let found = place.find(info);
        let seat = core.seats.take(core.options.limits.subscribers);
        let seat = seat.map_err(|failure| failure.into_problem())?;
        let log = &core.log;
        let follower = log.follow(&info.name).await.map_err(problem)?;
        // The follower may be of another stream that has got the name meanwhile.
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
            _seat: seat,
            _watch: watch,
        })
    }

    /// What its client is told before the first item.
    pub(super) fn notice(&self) -> Notice {
        match &self.lost {
            Some(lost) => Notice::Reset(lost.clone()),
            None if self.is_moment => Notice::Position(self.lineage.at(self.position)),
            None => Notice::Nothing,
        }
    }

    /// The items, each with the offset after it as its id, to the stream's end; an error if that wasn't its own end.
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
                // A stream of JSON has no other messages.
                let json: Box<RawValue> = serde_json::from_slice(&message.bytes)?;
                return Ok(Some(Item::new(json).id(self.lineage.at(next).to_string())));
            }
            if self.is_complete {
                let info = self.log.info(&self.name).await.map_err(problem)?;
                return reason::of(&info).map_or(Ok(None), Err);
            }
            let from = ReadFrom::At(self.position);
            let chunk = self.log.read(&self.name, from, CHUNK_BYTES / 4).await;
            // Looked at after reading: what was read is of the stream that is followed, or isn't given.
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

/// What is told of a stream that is no more.
pub(super) fn gone() -> Problem {
    Problem::new(StatusCode::GONE)
        .detail("the stream was deleted, or has expired")
        .for_good()
}
