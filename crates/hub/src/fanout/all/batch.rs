//! A range of the global order, as events. They are encoded once for each format and shared by all
//! readers.

use std::{
    collections::{HashMap, hash_map::Entry as Slot},
    ops::Range,
    sync::OnceLock,
};

use bytes::Bytes;
use headwater::Format;
use headwater_log::{
    EndCause, Ended, Entry, Error, Incarnation, Info, Log, Mark, Offset, OrderChunk, Position,
    StreamName, Timestamp, Trimmed,
};

use super::{
    encode::{self, Content, Letter},
    patterns::Patterns,
};
use crate::{
    fanout::{described, send_budget},
    limits::EVENTS_CHUNK_BYTES,
};

/// Approximate size in bytes of an event, besides its message.
const EVENT_COST: usize = 128;

/// Consecutive events, of about the size of one chunk.
pub(crate) struct Batch {
    items: Vec<Item>,
    streams: Vec<Source>,
    /// The order of its positions.
    order: Incarnation,
    /// The position after all of it.
    pub(crate) next: Position,
    /// Approximate size in bytes of its events in one format.
    pub(crate) cost: usize,
    /// As an SSE body, and as lines.
    encoded: [OnceLock<Encoded>; 2],
}

/// A stream with events in the batch.
#[derive(Clone)]
struct Source {
    name: StreamName,
    content_type: String,
}

struct Item {
    /// The position after it.
    id: Position,
    /// Its stream. `None` for ends of streams that the log doesn't keep.
    of: Option<Of>,
}

struct Of {
    /// The index of its stream in the batch.
    stream: usize,
    /// The offset after it.
    offset: Mark,
    what: What,
}

enum What {
    Message(Bytes),
    /// The message and the ones before it were trimmed, or those from an offset on are damaged.
    Trimmed {
        damaged_from: Option<Mark>,
    },
    /// The stream was deleted, has expired, or was imported.
    Ended(EndCause, Timestamp),
}

impl Item {
    fn is_message(&self) -> bool {
        matches!(&self.of, Some(of) if matches!(of.what, What::Message(_)))
    }

    /// Returns `true` if it reports the end of a stream, or its import.
    fn is_end(&self) -> bool {
        self.of
            .as_ref()
            .is_none_or(|of| matches!(of.what, What::Ended(..)))
    }
}

/// An entry of the order.
enum Read {
    Message(Entry),
    Trimmed(Trimmed),
    Ended(Ended),
    Forgotten(Position),
}

impl Read {
    fn position(&self) -> Position {
        match self {
            Self::Message(entry) => entry.position,
            Self::Trimmed(gap) => gap.position,
            Self::Ended(end) => end.position,
            Self::Forgotten(position) => *position,
        }
    }
}

/// The events of a batch in one format.
struct Encoded {
    bytes: Bytes,
    /// The end of each event in `bytes`.
    ends: Vec<usize>,
}

/// Events for one reader.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// Number of events.
    pub(crate) events: usize,
    /// The position after the last of them.
    pub(crate) id: Position,
    /// Number of messages in them.
    pub(crate) messages: u64,
}

/// Converts a chunk of the order to batches, with the content types of its streams.
///
/// # Errors
/// The log can't return the information on a stream.
pub(crate) async fn batches(log: &dyn Log, read: OrderChunk) -> Result<Vec<Batch>, Error> {
    let next = read.next;
    let mut all: Vec<Read> = read.entries.into_iter().map(Read::Message).collect();
    all.extend(read.trimmed.into_iter().map(Read::Trimmed));
    all.extend(read.ended.into_iter().map(Read::Ended));
    all.extend(read.forgotten.map(Read::Forgotten));
    all.sort_by_key(Read::position);

    let mut known = Known {
        log,
        infos: HashMap::new(),
    };
    let mut done = Vec::new();
    let order = log.identity().order();
    let mut builder = BatchBuilder::default();
    for read in all {
        let position = read.position();
        // A large message is a batch of its own.
        let bytes = match &read {
            Read::Message(entry) => entry.message.bytes.len(),
            _ => 0,
        };
        let is_over = builder.cost + bytes >= EVENTS_CHUNK_BYTES;
        if is_over && !builder.items.is_empty() {
            done.push(std::mem::take(&mut builder).finish(order, position));
        }
        let id = Position::new(position.number() + 1);
        match read {
            Read::Message(entry) => {
                let offset = Offset::new(entry.message.offset.number() + 1);
                if let Some(info) = known.info(entry.stream, entry.id).await? {
                    builder.add(info, id, offset, What::Message(entry.message.bytes));
                }
            }
            Read::Trimmed(gap) => {
                if let Some(info) = known.info(gap.stream, gap.id).await? {
                    let damaged_from = gap.damaged_from.map(|from| info.at(from));
                    builder.add(info, id, gap.floor, What::Trimmed { damaged_from });
                }
            }
            // Its later messages may be in the same batch, with the type of the stream.
            Read::Ended(end) if end.cause == EndCause::Restored => {
                if let Some(info) = known.info(end.stream, end.id).await? {
                    builder.add(info, id, end.tail.at, What::Ended(end.cause, end.time));
                }
            }
            Read::Ended(end) => builder.end(&end, id),
            Read::Forgotten(_) => builder.forget(id),
        }
    }
    if !builder.items.is_empty() {
        done.push(builder.finish(order, next));
    }
    Ok(done)
}

/// Streams that were looked up for one read. A stream may be deleted, and another one created in
/// its place, before the next.
struct Known<'a> {
    log: &'a dyn Log,
    infos: HashMap<StreamName, Option<Info>>,
}

impl Known<'_> {
    /// Looks up the stream with this number. A deleted stream isn't found, even if another one has
    /// its name.
    async fn info(&mut self, name: StreamName, id: u64) -> Result<Option<&Info>, Error> {
        let info = match self.infos.entry(name) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => {
                let info = info(self.log, slot.key()).await?;
                slot.insert(info)
            }
        };
        Ok(info.as_ref().filter(|info| info.id == id))
    }
}

/// Returns the log's information on a stream, or `None` if it doesn't exist.
async fn info(log: &dyn Log, name: &StreamName) -> Result<Option<Info>, Error> {
    match described(log, name).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.is_not_found() || error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct BatchBuilder {
    items: Vec<Item>,
    streams: Vec<Source>,
    by_id: HashMap<u64, usize>,
    cost: usize,
}

impl BatchBuilder {
    fn add(&mut self, info: &Info, id: Position, offset: Offset, what: What) {
        let content_type = &info.settings.content_type;
        let stream = self.source(info.id, &info.name, content_type);
        let offset = info.at(offset);
        self.push(
            id,
            Of {
                stream,
                offset,
                what,
            },
        );
    }

    fn end(&mut self, end: &Ended, id: Position) {
        let stream = self.source(end.id, &end.stream, "");
        self.push(
            id,
            Of {
                stream,
                offset: end.tail,
                what: What::Ended(end.cause, end.time),
            },
        );
    }

    fn forget(&mut self, id: Position) {
        self.cost += EVENT_COST;
        self.items.push(Item { id, of: None });
    }

    fn source(&mut self, id: u64, name: &StreamName, content_type: &str) -> usize {
        *self.by_id.entry(id).or_insert_with(|| {
            self.streams.push(Source {
                name: name.clone(),
                content_type: content_type.to_owned(),
            });
            self.streams.len() - 1
        })
    }

    fn push(&mut self, id: Position, of: Of) {
        let bytes = match &of.what {
            What::Message(bytes) => bytes.len(),
            What::Trimmed { .. } | What::Ended(..) => 0,
        };
        self.cost += bytes + self.streams[of.stream].name.as_str().len() + EVENT_COST;
        self.items.push(Item { id, of: Some(of) });
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
    /// Returns the events after `from` that match, if there are any. Consecutive events, as for a
    /// reader of all streams, are shared; others are copied. Ends of streams before `ends_from` are
    /// left out.
    pub(crate) fn chunk(
        &self,
        format: Format,
        from: Position,
        ends_from: Position,
        wanted: &Patterns,
    ) -> Option<Chunk> {
        let is_wanted: Vec<_> = self
            .streams
            .iter()
            .map(|stream| wanted.matches(&stream.name))
            .collect();
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut messages = 0;
        let start = self.items.partition_point(|item| item.id <= from);
        for (index, item) in self.items.iter().enumerate().skip(start) {
            let is_of_wanted = item.of.as_ref().is_none_or(|of| is_wanted[of.stream]);
            if !is_of_wanted || item.is_end() && item.id <= ends_from {
                continue;
            }
            messages += u64::from(item.is_message());
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
        let events = runs.iter().map(Range::len).sum();
        Some(Chunk {
            bytes,
            events,
            id,
            messages,
        })
    }

    /// Returns the position after the batch's only event, if that is a large message that matches.
    /// Doesn't encode it.
    pub(crate) fn only_large(&self, from: Position, wanted: &Patterns) -> Option<Position> {
        let [item] = &*self.items else { return None };
        let of = item.of.as_ref()?;
        let is_wanted = item.is_message() && wanted.matches(&self.streams[of.stream].name);
        (is_wanted && item.id > from && send_budget::is_large(self.cost)).then_some(item.id)
    }

    /// Returns `true` if the batch, or its encoding in a format, is larger than a chunk.
    pub(crate) fn is_large(&self, format: Format) -> bool {
        send_budget::is_large(self.cost) || send_budget::is_large(self.encoded(format).bytes.len())
    }

    fn encoded(&self, format: Format) -> &Encoded {
        let slot = usize::from(format != Format::Sse);
        self.encoded[slot].get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.cost);
            let encode = |item: &Item| {
                let id = Mark {
                    at: item.id,
                    incarnation: self.order,
                };
                let Some(of) = &item.of else {
                    encode::forgotten(format, id, &mut bytes);
                    return bytes.len();
                };
                let stream = &self.streams[of.stream];
                let content = match &of.what {
                    What::Message(bytes) => Content::Message {
                        content_type: &stream.content_type,
                        bytes,
                    },
                    What::Trimmed { damaged_from } => Content::Trimmed {
                        damaged_from: *damaged_from,
                    },
                    What::Ended(cause, time) => Content::Ended {
                        cause: *cause,
                        time: *time,
                    },
                };
                let letter = Letter {
                    id,
                    stream: stream.name.as_str(),
                    offset: of.offset,
                    content,
                };
                encode::encode(format, letter, &mut bytes);
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
    /// Returns the byte range of a range of events.
    fn place(&self, run: &Range<usize>) -> Range<usize> {
        let start = run
            .start
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        start..self.ends[run.end - 1]
    }
}
