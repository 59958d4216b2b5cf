//! The writer of an export: a stream of chunks of lines. A chunk is made when the one before was taken.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use headwater_auth::{Action, Grants};
use headwater_log::{
    Clock, Digest, Error, Mark, Offset, ProducerImage, ReadFrom, StreamName, limits::PAGE,
};

use super::{is_movable, line, may_move_own};
use crate::{
    access::Caller,
    limits::{EXPORT_BYTES, EXPORT_PRODUCERS},
    permits::Permit,
    protocol::{media_type::is_json, path::is_reserved},
    state::HubState,
};

/// An export on its way.
pub(super) struct Export {
    hub: Arc<HubState>,
    prefix: String,
    /// `true` if the hub's own streams are included.
    has_own: bool,
    after: Option<StreamName>,
    grants: Option<Grants>,
    /// The next streams.
    names: VecDeque<StreamName>,
    /// `true` if there are no names after them.
    is_last_page: bool,
    part: Part,
    current: Option<Current>,
    streams: u64,
    dropped: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    Streams,
    Done,
}

/// The stream whose lines are being written.
struct Current {
    name: StreamName,
    tail: Mark,
    is_json: bool,
    producers: std::vec::IntoIter<ProducerImage>,
    /// The offset of the next message.
    at: Offset,
    messages: u64,
    bytes: u64,
    digest: Digest,
}

impl Current {
    /// Ends a line of the stream that begins at `start`.
    fn end_line(&mut self, out: &mut Vec<u8>, start: usize) {
        self.digest.add(&out[start..]);
        out.push(b'\n');
    }
}

impl Export {
    pub(super) fn new(
        hub: &Arc<HubState>,
        prefix: Option<String>,
        only: Option<StreamName>,
        after: Option<StreamName>,
        caller: &Caller,
    ) -> Self {
        Self {
            hub: Arc::clone(hub),
            has_own: prefix.is_none() && may_move_own(hub, caller),
            prefix: prefix.unwrap_or_default(),
            after,
            grants: caller.limits(Action::Admin),
            is_last_page: only.is_some(),
            names: only.into_iter().collect(),
            part: Part::Start,
            current: None,
            streams: 0,
            dropped: 0,
        }
    }

    /// Returns the chunks. They hold the permit.
    pub(super) fn into_stream(self, permit: Permit) -> impl Stream<Item = Result<Bytes, Error>> {
        stream::try_unfold((self, permit), |(mut export, permit)| async move {
            let chunk = export.next().await.inspect_err(|error| {
                tracing::warn!(%error, "an export was cut off");
            })?;
            Ok(chunk.map(|chunk| (chunk, (export, permit))))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut out = Vec::new();
        while out.len() < EXPORT_BYTES && self.part != Part::Done {
            match self.part {
                Part::Start => {
                    let start = line::Start {
                        headwater: line::KIND.into(),
                        version: line::VERSION,
                        time: Clock::system().now().0,
                    };
                    put(&mut out, &start);
                    self.part = Part::Streams;
                }
                Part::Streams if self.current.is_some() => self.write_next(&mut out).await?,
                Part::Streams => match self.next_name().await? {
                    Some(name) => self.begin(name, &mut out).await?,
                    None => {
                        let complete = line::Complete {
                            complete: true,
                            streams: self.streams,
                            dropped: self.dropped,
                        };
                        put(&mut out, &complete);
                        self.part = Part::Done;
                    }
                },
                Part::Done => {}
            }
        }
        Ok((!out.is_empty()).then(|| out.into()))
    }

    async fn next_name(&mut self) -> Result<Option<StreamName>, Error> {
        while self.names.is_empty() && !self.is_last_page {
            let after = self.after.take();
            let page = self.hub.log.list(&self.prefix, after, PAGE).await?;
            let names = page.streams.into_iter().map(|info| info.name);
            let names: Vec<_> = names.filter(|name| self.is_wanted(name.as_str())).collect();
            self.names.extend(names);
            self.after = page.after;
            self.is_last_page = self.after.is_none();
        }
        Ok(self.names.pop_front())
    }

    fn is_wanted(&self, name: &str) -> bool {
        match &self.grants {
            _ if is_reserved(name) => self.has_own && is_movable(name),
            Some(grants) => grants.allows(Action::Admin, Some(name)),
            None => true,
        }
    }

    /// Begins a stream, if it is still there.
    async fn begin(&mut self, name: StreamName, out: &mut Vec<u8>) -> Result<(), Error> {
        let (image, producers) = match self.hub.log.image(&name).await {
            Ok(image) => image,
            Err(error) if is_ended(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let start = out.len();
        line::put_json(out, &line::Stream::of(name.as_str(), &image));
        let mut current = Current {
            tail: image.tail(),
            is_json: is_json(&image.settings.content_type),
            producers: producers.into_iter(),
            at: image.floor,
            messages: 0,
            bytes: 0,
            digest: Digest::EMPTY,
            name,
        };
        current.end_line(out, start);
        self.current = Some(current);
        Ok(())
    }

    /// Writes the next lines of the stream.
    async fn write_next(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if current.producers.len() > 0 {
            for producer in current.producers.by_ref().take(EXPORT_PRODUCERS) {
                let start = out.len();
                line::put_json(out, &line::ProducerLine::of(&producer));
                // Ends the line as `end_line` does, while the producers are borrowed.
                current.digest.add(&out[start..]);
                out.push(b'\n');
            }
            return Ok(());
        }
        if current.at == current.tail.at {
            let end = line::End {
                end: current.name.as_str().into(),
                messages: current.messages,
                bytes: current.bytes,
                digest: current.digest.to_string().into(),
            };
            put(out, &end);
            self.streams += 1;
            self.current = None;
            return Ok(());
        }
        let read = ReadFrom::At(current.at);
        let why = match self.hub.log.read(&current.name, read, EXPORT_BYTES).await {
            // Another stream can have the name by now.
            Ok(chunk) if chunk.lineage.find(current.tail).is_none() => "the stream was deleted",
            Ok(chunk) => {
                let tail = current.tail.at;
                let messages = chunk.messages();
                for message in messages.take_while(|it| it.offset < tail) {
                    let start = out.len();
                    let (offset, time) = (message.offset, message.time);
                    line::put_message(out, offset, time, &message.bytes, current.is_json);
                    current.end_line(out, start);
                    current.messages += 1;
                    current.bytes += message.bytes.len() as u64;
                }
                current.at = chunk.next.min(tail);
                return Ok(());
            }
            Err(error) if error.is_trimmed() => {
                let floor = error.floor().map_or(current.tail.at, |floor| floor.at);
                current.at = floor.min(current.tail.at);
                return Ok(());
            }
            Err(error) if is_ended(&error) => "the stream was deleted",
            Err(error) if error.is_damaged() => {
                tracing::error!(%error, stream = current.name.as_str(), "a stream can't be exported");
                "the data of the stream is damaged"
            }
            Err(error) => return Err(error),
        };
        let dropped = line::Dropped {
            dropped: current.name.as_str().into(),
            why: why.into(),
        };
        put(out, &dropped);
        self.dropped += 1;
        self.current = None;
        Ok(())
    }
}

fn put<T: serde::Serialize>(out: &mut Vec<u8>, line: &T) {
    line::put_json(out, line);
    out.push(b'\n');
}

/// Returns `true` if a stream isn't there any more, or isn't there yet.
fn is_ended(error: &Error) -> bool {
    error.is_not_found() || error.is_gone() || error.is_restoring() || error.is_beyond_tail()
}
