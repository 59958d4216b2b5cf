//! A stretch of the order of all streams, as events. They are encoded once for each format, for all who want some of them.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    ops::Range,
    sync::OnceLock,
};

use bytes::Bytes;
use headwater::Format;
use headwater_log::{
    Error, Incarnation, Info, Log, Mark, Offset, OrderChunk, Position, StreamName,
};

use super::{
    envelope::{self, Letter},
    patterns::Patterns,
};
use crate::limits::EVENTS_CHUNK_BYTES;

/// About what an event takes besides its message.
const EVENT_COST: usize = 128;

/// Events that follow one another, of about as many bytes as one chunk takes.
pub(crate) struct Batch {
    items: Vec<Item>,
    streams: Vec<Source>,
    /// What its places are in.
    order: Incarnation,
    /// The place after all of it.
    pub(crate) next: Position,
    /// About how many bytes its events have in one format.
    pub(crate) cost: usize,
    /// As an SSE body, and as lines.
    encoded: [OnceLock<Encoded>; 2],
}

/// A stream of which there are events.
#[derive(Clone)]
struct Source {
    name: StreamName,
    content_type: String,
}

struct Item {
    /// The place after it.
    id: Position,
    /// Which one of the batch's streams it is of.
    stream: usize,
    /// The offset after it.
    offset: Mark,
    /// The message; `None` says that this one and those before it were trimmed.
    message: Option<Bytes>,
}

/// The events of a batch in a format.
struct Encoded {
    bytes: Bytes,
    /// Where each ends.
    ends: Vec<usize>,
}

/// Events for one reader.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// The place after the last of them.
    pub(crate) id: Position,
    /// How many messages they have.
    pub(crate) messages: u64,
}

/// Makes batches of what was read, with the content types of its streams.
///
/// # Errors
/// The log can't say what it knows of a stream.
pub(crate) async fn batches(log: &dyn Log, read: OrderChunk) -> Result<Vec<Batch>, Error> {
    let messages = read.entries.into_iter().map(|entry| {
        let message = entry.message;
        let offset = Offset::new(message.offset.number() + 1);
        (
            entry.position,
            entry.stream,
            entry.id,
            offset,
            Some(message.bytes),
        )
    });
    let gaps = read
        .trimmed
        .into_iter()
        .map(|gap| (gap.position, gap.stream, gap.id, gap.floor, None));
    let mut all: Vec<_> = messages.chain(gaps).collect();
    all.sort_by_key(|(position, ..)| *position);

    // Asked anew for each read: a stream can be deleted, and another one created in its place.
    let mut known: HashMap<StreamName, Option<Info>> = HashMap::new();
    let mut done = Vec::new();
    let order = log.identity().order();
    let mut filling = Filling::default();
    for (position, name, stream, offset, message) in all {
        if filling.cost >= EVENTS_CHUNK_BYTES {
            done.push(std::mem::take(&mut filling).finish(order, position));
        }
        let info = match known.entry(name) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => {
                let info = info(log, slot.key()).await?;
                slot.insert(info)
            }
        };
        // Of a stream that is deleted nothing is sent, even if there is another one of its name.
        if let Some(info) = info.as_ref().filter(|info| info.id == stream) {
            let id = Position::new(position.number() + 1);
            filling.add(info, id, offset, message);
        }
    }
    if !filling.items.is_empty() {
        done.push(filling.finish(order, read.next));
    }
    Ok(done)
}

/// What is known of a stream, if it is there.
async fn info(log: &dyn Log, name: &StreamName) -> Result<Option<Info>, Error> {
    match log.info(name).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.is_not_found() || error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Filling {
    items: Vec<Item>,
    streams: Vec<Source>,
    by_id: HashMap<u64, usize>,
    cost: usize,
}

impl Filling {
    fn add(&mut self, info: &Info, id: Position, offset: Offset, message: Option<Bytes>) {
        let stream = *self.by_id.entry(info.id).or_insert_with(|| {
            self.streams.push(Source {
                name: info.name.clone(),
                content_type: info.settings.content_type.clone(),
            });
            self.streams.len() - 1
        });
        let bytes = message.as_ref().map_or(0, Bytes::len);
        self.cost += bytes + info.name.as_str().len() + EVENT_COST;
        self.items.push(Item {
            id,
            stream,
            offset: info.at(offset),
            message,
        });
    }

    fn finish(self, order: Incarnation, next: Position) -> Batch {
        Batch {
            order,
            items: self.items,
            streams: self.streams,
            next,
            cost: self.cost,
            encoded: Default::default(),
        }
    }
}

impl Batch {
    /// Those of its events after `from` that are wanted, if there are any. Where they follow one another, as for a reader who
    /// wants them all, they are shared, and else copied together.
    pub(crate) fn chunk(&self, format: Format, from: Position, wanted: &Patterns) -> Option<Chunk> {
        let is_wanted: Vec<_> = self
            .streams
            .iter()
            .map(|stream| wanted.matches(&stream.name))
            .collect();
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut messages = 0;
        let start = self.items.partition_point(|item| item.id <= from);
        for (index, item) in self.items.iter().enumerate().skip(start) {
            if !is_wanted[item.stream] {
                continue;
            }
            messages += u64::from(item.message.is_some());
            match runs.last_mut() {
                Some(run) if run.end == index => run.end += 1,
                _ => runs.push(index..index + 1),
            }
        }
        let id = self.items[runs.last()?.end - 1].id;
        let encoded = self.encoded(format);
        let bytes = match &*runs {
            [run] => encoded.bytes.slice(encoded.place(run)),
            runs => {
                let mut bytes =
                    Vec::with_capacity(runs.iter().map(|run| encoded.place(run).len()).sum());
                for run in runs {
                    bytes.extend_from_slice(&encoded.bytes[encoded.place(run)]);
                }
                bytes.into()
            }
        };
        Some(Chunk {
            bytes,
            id,
            messages,
        })
    }

    fn encoded(&self, format: Format) -> &Encoded {
        let slot = usize::from(format != Format::Sse);
        self.encoded[slot].get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.cost);
            let encode = |item: &Item| {
                let stream = &self.streams[item.stream];
                let letter = Letter {
                    id: Mark {
                        at: item.id,
                        incarnation: self.order,
                    },
                    stream: stream.name.as_str(),
                    offset: item.offset,
                    content_type: &stream.content_type,
                    message: item.message.as_deref(),
                };
                envelope::encode(format, letter, &mut bytes);
                bytes.len()
            };
            let ends = self.items.iter().map(encode).collect();
            Encoded {
                bytes: bytes.into(),
                ends,
            }
        })
    }
}

impl Encoded {
    /// Where the events of a run are.
    fn place(&self, run: &Range<usize>) -> Range<usize> {
        let start = run
            .start
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        start..self.ends[run.end - 1]
    }
}
