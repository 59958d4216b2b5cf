use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::block::Block;
use crate::clock::Timestamp;
use crate::incarnation::{Lineage, Mark};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::settings::{ForkPoint, Settings};

/// The start of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first message that is still stored.
    Start,
    /// This offset.
    At(Offset),
    /// The first message appended at this time or later.
    Since(Timestamp),
    /// The tail: after the last message.
    Tail,
}

/// One message of a stream. Its bytes are shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The offset before the message. The offset after it is one more.
    pub offset: Offset,
    /// The time of the append.
    pub time: Timestamp,
    /// The payload.
    pub bytes: Bytes,
}

/// Consecutive messages of one stream, as many as fit the budget.
///
/// Chunks are equal if their messages are, in whatever blocks they are stored.
#[derive(Clone)]
#[non_exhaustive]
pub struct Chunk {
    /// The lineage of the stream that was read. Another stream of the same name has another one.
    pub lineage: Lineage,
    /// The offset that was read from.
    pub from: Offset,
    /// The messages, in blocks as they are stored. Empty at the tail.
    pub blocks: Vec<Block>,
    /// The offset at which the next read continues.
    pub next: Offset,
    /// `true` if `next` was the stream's tail at the time of the read.
    pub at_tail: bool,
    /// `true` if the stream was closed at the time of the read. With `at_tail`, no messages follow.
    pub closed: bool,
}

impl Chunk {
    /// Returns the messages.
    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        self.blocks.iter().flat_map(Block::messages)
    }

    /// Returns `true` if there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Returns the number of messages.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.blocks.iter().map(Block::count).sum()
    }

    /// Returns the number of bytes of the messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(Block::bytes).sum()
    }

    /// Returns the extent of the chunk.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            lineage: self.lineage.clone(),
            from: self.from,
            next: self.next,
            bytes: self.bytes() as u64,
            at_tail: self.at_tail,
            closed: self.closed,
        }
    }
}

/// The range and the size of consecutive messages of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The lineage of the stream. Another stream of the same name has another one.
    pub lineage: Lineage,
    /// The offset before the first message.
    pub from: Offset,
    /// The offset after the last message.
    pub next: Offset,
    /// Bytes of the messages.
    pub bytes: u64,
    /// `true` if `next` was the stream's tail at the time.
    pub at_tail: bool,
    /// `true` if the stream was closed at the time. With `at_tail`, no messages follow.
    pub closed: bool,
}

impl Extent {
    /// Returns the number of messages.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.next.number() - self.from.number()
    }

    /// Adds an extent of the same stream that begins where this one ends.
    pub fn extend(&mut self, rest: &Self) {
        debug_assert_eq!(self.next, rest.from, "the extents follow each other");
        self.next = rest.next;
        self.bytes += rest.bytes;
        (self.at_tail, self.closed) = (rest.at_tail, rest.closed);
    }
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        let fields = |it: &Self| (it.from, it.next, it.at_tail, it.closed);
        self.lineage == other.lineage
            && fields(self) == fields(other)
            && self.messages().eq(other.messages())
    }
}

impl Eq for Chunk {}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("lineage", &self.lineage)
            .field("from", &self.from)
            .field("messages", &self.messages().collect::<Vec<_>>())
            .field("next", &self.next)
            .field("at_tail", &self.at_tail)
            .field("closed", &self.closed)
            .finish()
    }
}

/// One message in the order of all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The position before the message. The position after it is one more.
    pub position: Position,
    /// The name of the message's stream.
    pub stream: StreamName,
    /// The stream's [number](Info::id). Another stream can have the name by now.
    pub id: u64,
    /// The message.
    pub message: Message,
}

/// A notice that messages of a stream can't be read any more: its [caps](Settings) removed the oldest
/// ones, or some are damaged.
///
/// It has the position of the newest of them in the order of all streams. A reader that
/// passes it has missed at least that message, and a reader that starts after it has missed none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// The position before the newest of the messages.
    pub position: Position,
    /// The name of the stream.
    pub stream: StreamName,
    /// The stream's [number](Info::id).
    pub id: u64,
    /// The offset after the newest of the messages. Unless they are damaged, all messages of the stream
    /// before it are gone.
    pub floor: Offset,
    /// The offset before the first of the messages if they are damaged. Other messages of the stream, before
    /// and after them, can be read.
    pub damaged_from: Option<Offset>,
}

/// The end of a stream; or its completion, if it was [restored](crate::Restore).
///
/// It has its own position in the order of all streams, after all messages that the stream has then. A stream
/// that is hidden because it has [forks](crate::ForkFrom) has ended too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The position before the end. The position after it is one more.
    pub position: Position,
    /// The name of the stream. Another stream can have it by now.
    pub stream: StreamName,
    /// The stream's [number](Info::id).
    pub id: u64,
    /// Its cause.
    pub cause: EndCause,
    /// Its time.
    pub time: Timestamp,
    /// The offset after the stream's last message.
    pub tail: Mark,
}

impl Ended {
    /// The approximate number of bytes that the end counts for in the budget of a read.
    pub(crate) fn cost(&self) -> usize {
        128 + self.stream.as_str().len()
    }
}

/// Cause of an [`Ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The stream was [deleted](crate::Log::delete).
    Deleted,
    /// The stream [expired](crate::Expiry).
    Expired,
    /// It is no end: the stream was [restored](crate::Restore), and is complete. A reader of the order that was past its
    /// messages before that didn't get them.
    Restored,
}

/// A range of the order of all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderChunk {
    /// The messages that match, in order. Can be empty although the end of the order isn't reached.
    pub entries: Vec<Entry>,
    /// The streams that match and were trimmed in this range, in order: at most one notice per
    /// stream. Besides, the damaged messages in it.
    pub trimmed: Vec<Trimmed>,
    /// The streams that match and ended in this range, or were restored, in order.
    pub ended: Vec<Ended>,
    /// The position before the newest end that the log [dropped](crate::Limits::ended), of any
    /// stream, if it is in this range. Some of the ends up to that position are missing from
    /// `ended`.
    pub forgotten: Option<Position>,
    /// The position at which the next read continues.
    pub next: Position,
    /// `true` if `next` was the end of the order at the time of the read.
    pub at_head: bool,
}

/// A filter on stream names. It returns `true` if the stream's messages are wanted.
pub type Matching = Arc<dyn Fn(&StreamName) -> bool + Send + Sync>;

/// A description of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// A number that is unique in this log. A later stream of the same name has another one.
    pub id: u64,
    /// The incarnations of the stream's offsets.
    pub lineage: Lineage,
    /// The stream's name.
    pub name: StreamName,
    /// The settings from its creation. A fork that was created without an expiry has its source's.
    pub settings: Settings,
    /// The time of creation.
    pub created: Timestamp,
    /// The time of the last append, or of creation if there was none.
    pub appended: Timestamp,
    /// The time at which the stream expires if it isn't used until then.
    pub expires: Option<Timestamp>,
    /// The first readable offset.
    pub floor: Offset,
    /// The offset after the last message.
    pub tail: Offset,
    /// `true` if the stream is closed.
    pub closed: bool,
    /// The [reason](crate::Append::reason) for which it was closed, if one was given: it didn't end
    /// normally.
    pub reason: Option<Bytes>,
    /// Bytes of the messages it holds. Messages that a fork shares with its source aren't counted.
    pub bytes: u64,
    /// The point at which it was forked from its source, if it is a fork.
    pub fork: Option<ForkPoint>,
}

impl Info {
    /// Returns an offset of the stream, in the form for clients.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Mark {
        self.lineage.at(offset)
    }

    /// Returns the number of readable messages. A fork's count includes the messages that it shares
    /// with its source.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.tail.number() - self.floor.number()
    }
}

/// The result of creating a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// The stream as it is now.
    pub info: Info,
    /// `true` if the stream was created by this call. If `false`, it existed before and is
    /// unchanged. The caller compares its settings with the requested ones.
    pub is_new: bool,
}

/// A page of streams, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The streams.
    pub streams: Vec<Info>,
    /// The name after which the next page starts, if there may be more streams.
    pub after: Option<StreamName>,
}

/// The size of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Number of streams, including hidden streams that have forks.
    pub streams: u64,
    /// Bytes of the messages of these streams, without trimmed ones.
    pub bytes: u64,
    /// The end of the order of all streams: the number of messages ever appended plus the number of
    /// streams that have ended.
    pub head: Position,
}
