use std::{sync::Arc, vec};

use futures_core::Stream;
use futures_util::stream;
use headwater::{Item, Problem, StatusCode};
use headwater_log::{Expiry, Follower, Info, Log, Message, Offset, ReadFrom, StreamName};
use serde_json::value::RawValue;

use crate::{
    Core, error::problem, filling::Watch, limits::CATCH_UP_BYTES, live::Seat, offset::Place,
    read::check_place, reason,
};

/// A position in a durable stream, from which its items are given to its end.
pub(super) struct Reading {
    log: Arc<dyn Log>,
    name: StreamName,
    follower: Follower,
    position: Offset,
    /// Messages that were read and not given yet.
    messages: vec::IntoIter<Message>,
    /// Whether there are none behind those.
    is_complete: bool,
    /// Held as long as it is read.
    _seat: Seat,
    _watch: Option<Watch>,
}

impl Reading {
    /// A reading of a stream from a place.
    ///
    /// # Errors
    /// The stream doesn't have that place, or is gone, or there are too many readers.
    pub(super) async fn new(
        core: &Core,
        info: &Info,
        place: Place,
        watch: Option<Watch>,
    ) -> Result<Self, Problem> {
        check_place(info, place).map_err(|failure| failure.into_problem())?;
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
            follower,
            position: match place {
                Place::Start => info.floor,
                Place::Now => info.tail,
                Place::At(offset) => offset,
            },
            messages: Vec::new().into_iter(),
            is_complete: false,
            _seat: seat,
            _watch: watch,
        })
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
                return Ok(Some(Item::new(json).id(next.to_string())));
            }
            if self.is_complete {
                let info = self.log.info(&self.name).await.map_err(problem)?;
                return reason::of(&info).map_or(Ok(None), Err);
            }
            let from = ReadFrom::At(self.position);
            let chunk = self.log.read(&self.name, from, CATCH_UP_BYTES).await;
            // Looked at after reading: what was read is of the stream that is followed, or isn't given.
            if self.follower.progress().gone {
                return Err(gone());
            }
            let chunk = chunk.map_err(problem)?;
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
