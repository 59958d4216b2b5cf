//! Followers of all streams through `/events`, which resume from one event id.

use std::net::SocketAddr;

use bytes::Bytes;
use headwater_wire::{Decoder, Event, Format, Limits};
use serde::Deserialize;
use tokio::{sync::watch, time::sleep};

use super::{Duration, Hub, Message, PRODUCERS, STREAMS, Seen, address, path};
use crate::raw;

/// Number of messages seen, by stream and producer.
pub(super) type Counts = [[u64; PRODUCERS]; STREAMS];

#[derive(Deserialize)]
struct Envelope {
    id: String,
    stream: String,
    offset: String,
    data: Message,
}

/// The messages that a follower of all streams has seen.
#[derive(Default)]
struct SeenOfAll {
    streams: [Seen; STREAMS],
    /// Number of messages seen, by stream.
    messages: [u64; STREAMS],
    /// Id of the last event, from which the follower resumes.
    id: Option<String>,
}

impl SeenOfAll {
    fn counts(&self) -> Counts {
        std::array::from_fn(|stream| self.streams[stream].next)
    }

    /// Checks and counts the next event. Its id must be greater than the last one, and its message
    /// must be the next of its stream and of its producer.
    fn take(&mut self, event: &Event) -> Result<(), String> {
        if &*event.event != Event::DEFAULT_TYPE {
            return Err(format!("an event {:?} in mid-stream", event.event));
        }
        let envelope: Envelope =
            serde_json::from_str(&event.data).map_err(|error| error.to_string())?;
        let stream = (0..STREAMS).find(|stream| path(*stream).ends_with(&envelope.stream));
        let stream = stream.ok_or(format!("{} is none of them", envelope.stream))?;
        if self.id.as_ref() >= Some(&envelope.id) {
            return Err(format!("{} comes after {:?}", envelope.id, self.id));
        }
        self.messages[stream] += 1;
        // A mark is the offset, `_`, and the incarnation. The offset is a message count.
        let offset = format!("{:016}_", self.messages[stream]);
        if !envelope.offset.starts_with(&offset) {
            return Err(format!("{offset}… is due, and {} came", envelope.offset));
        }
        self.streams[stream].take(&envelope.data)?;
        self.id = Some(envelope.id);
        Ok(())
    }

    /// Reads events until the connection ends. Sends the counts to `tell` after each event.
    async fn follow(
        &mut self,
        address: SocketAddr,
        format: Format,
        tell: &watch::Sender<Counts>,
    ) -> Result<(), String> {
        let mut headers = vec![("Accept", format.media_types()[0])];
        let id = self.id.clone();
        if let Some(id) = &id {
            headers.push(("Last-Event-ID", id));
        }
        let target = "/events?stream=killed/0&stream=killed/*";
        let Ok(mut response) = raw::get(address, target, &headers).await else {
            return Ok(());
        };
        if response.status != 200 {
            return Err(format!("it was answered {}", response.status));
        }
        let mut decoder = Decoder::new(format, Limits::default());
        while let Ok(Some(chunk)) = response.chunk().await {
            decoder.push(Bytes::from(chunk));
            while let Some(event) = decoder.next().map_err(|error| error.to_string())? {
                self.take(&event)?;
                tell.send_replace(self.counts());
            }
        }
        Ok(())
    }
}

/// Follows all streams across restarts of the hub, and sends the counts to `tell`. Returns only on
/// a fault, with its description.
pub(super) async fn follow(mut hub: Hub, format: Format, tell: watch::Sender<Counts>) -> String {
    let mut seen = SeenOfAll::default();
    while let Some(address) = address(&mut hub).await {
        if let Err(fault) = seen.follow(address, format, &tell).await {
            return format!("the follower of all streams ({format:?}): {fault}");
        }
        sleep(Duration::from_millis(5)).await;
    }
    "the hub is gone".to_owned()
}
