use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::incarnation::{Lineage, Mark};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::settings::{ForkPoint, Settings};

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the first message that is still there.
    Start,
    /// At this offset.
    At(Offset),
    /// At the first message appended at this moment or later.
    Since(Timestamp),
    /// After the last message.
    Tail,
}

/// One message of a stream. Its bytes are shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Where it is: the offset before it. The one after it is one more.
    pub offset: Offset,
    /// When it was appended.
    pub time: Timestamp,
    /// What was appended.
    pub bytes: Bytes,
}

/// Messages of one stream that follow one another, as many as fit the budget.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// The incarnations of the stream that was read, which another one of its name doesn't have.
    pub lineage: Lineage,
    /// The offset that was read from.
    pub from: Offset,
    /// The messages; none at the tail.
    pub messages: Vec<Message>,
    /// Where to read on.
    pub next: Offset,
    /// Whether `next` was the stream's tail when this was read.
    pub at_tail: bool,
    /// Whether the stream was closed when this was read. With `at_tail`, nothing will follow.
    pub closed: bool,
}

/// One message in the order of all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Where it is in that order: the position before it. The one after it is one more.
    pub position: Position,
    /// The stream that it is in.
    pub stream: StreamName,
    /// That stream's [number](Info::id). Another stream may have the name by now.
    pub id: u64,
    /// The message.
    pub message: Message,
}

/// Says that the [caps](Settings) of a stream took its oldest messages away.
///
/// It stands in the order of all streams where the newest of them was, so a reader that comes by has missed at least
/// that one, and one that starts after it has missed none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Where the newest message was that is gone: the position before it.
    pub position: Position,
    /// The stream that it was in.
    pub stream: StreamName,
    /// That stream's [number](Info::id).
    pub id: u64,
    /// The offset after it. All of the stream's messages before that are gone.
    pub floor: Offset,
}

/// Says that a stream has ended.
///
/// It takes a position of its own in the order of all streams, after all of the stream's messages. A stream that is hidden
/// for its [forks](crate::ForkFrom) has ended as any other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Position before the end. The one after it is one more.
    pub position: Position,
    /// Name of the stream. Another one may have it by now.
    pub stream: StreamName,
    /// The stream's [number](Info::id).
    pub id: u64,
    /// Cause of the end.
    pub cause: EndCause,
    /// Time of the end.
    pub time: Timestamp,
    /// The offset after its last message.
    pub tail: Mark,
}

impl Ended {
    /// About how many bytes it counts for in a read's budget.
    pub(crate) fn cost(&self) -> usize {
        128 + self.stream.as_str().len()
    }
}

/// Cause of a stream's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// It was [deleted](crate::Log::delete).
    Deleted,
    /// Its [time](crate::Expiry) was over.
    Expired,
}

/// A stretch of the order of all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderChunk {
    /// The messages that match, in order. There can be none although the end isn't reached.
    pub entries: Vec<Entry>,
    /// What was trimmed in this stretch of streams that match, in order: at most one of each stream.
    pub trimmed: Vec<Trimmed>,
    /// The streams that match and ended in this stretch, in order.
    pub ended: Vec<Ended>,
    /// Position of the newest end that the log [doesn't keep any more](crate::Limits::ended), of any stream, if that was
    /// in this stretch: the position before it. Of ends up to there, some are not told.
    pub forgotten: Option<Position>,
    /// Where to read on.
    pub next: Position,
    /// Whether `next` was the end of the order when this was read.
    pub at_head: bool,
}

/// Says of a stream's name whether its messages are wanted.
pub type Matching = Arc<dyn Fn(&StreamName) -> bool + Send + Sync>;

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// A number that no other stream of this log ever has, also not a later one of the same name.
    pub id: u64,
    /// The incarnations that its offsets belong to.
    pub lineage: Lineage,
    /// What it is called.
    pub name: StreamName,
    /// What it was created with. A fork that was given no expiry has its source's.
    pub settings: Settings,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last appended to; when it was created, if never.
    pub appended: Timestamp,
    /// When it will end by itself, as things are.
    pub expires: Option<Timestamp>,
    /// The first offset that can be read.
    pub floor: Offset,
    /// The offset after the last message.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// Why it was [closed](crate::Append::reason), if that was said: it didn't come to its own end.
    pub reason: Option<Bytes>,
    /// How many bytes of messages it holds. What a fork has from its source is not counted.
    pub bytes: u64,
    /// Where it left its source, if it is a fork.
    pub fork: Option<ForkPoint>,
}

impl Info {
    /// An offset of the stream, as clients are given it.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Mark {
        self.lineage.at(offset)
    }

    /// How many messages can be read, those that a fork has from its source included.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.tail.number() - self.floor.number()
    }
}

/// What came of creating a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The stream as it is now.
    pub info: Info,
    /// Whether it was created now. If not, it was there before, and nothing has changed: whether
    /// it is what was wanted is for the caller to compare.
    pub is_new: bool,
}

/// Streams in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The streams.
    pub streams: Vec<Info>,
    /// The name to go on after, if there may be more.
    pub after: Option<StreamName>,
}

/// How much a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Streams, those that live on only in forks and those not yet reclaimed included.
    pub streams: u64,
    /// Bytes of messages that are not yet reclaimed.
    pub bytes: u64,
    /// The end of the order of all streams: how many messages were ever appended, and how many streams have ended.
    pub head: Position,
}
