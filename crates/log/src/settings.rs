use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::incarnation::{Incarnation, Lineage, Mark};
use crate::limits::{self, Limits};
use crate::name::StreamName;
use crate::offset::Offset;

/// What a stream is created with. None of it changes in the stream's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The media type of its messages, as it was given. The log stores it and checks nothing.
    pub content_type: String,
    /// When it ends by itself.
    pub expiry: Option<Expiry>,
    /// How long a message is kept, at the least. Older ones are trimmed in the background.
    pub max_age: Option<Duration>,
    /// How many bytes of messages are kept, at the most. Past that the oldest are trimmed in the
    /// background; the last record is always kept.
    pub max_bytes: Option<u64>,
    /// A schema of its messages. The log stores it and checks nothing.
    pub schema: Option<Bytes>,
    /// What else whoever creates it wants to know of it later; empty where that is nothing. The log stores it and checks
    /// nothing. A fork doesn't have its source's.
    pub note: Bytes,
}

impl Settings {
    /// Settings with this content type and nothing else.
    #[must_use]
    pub fn of_type(content_type: &str) -> Self {
        Self {
            content_type: content_type.to_owned(),
            ..Self::default()
        }
    }
}

/// When a stream ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After it was neither [read](crate::Log::touch) nor appended to for this long, in whole
    /// milliseconds.
    Idle(Duration),
    /// At this moment, whatever happens to it.
    At(Timestamp),
}

impl Expiry {
    /// When a stream ends that was last used at `used`.
    #[must_use]
    pub fn after(self, used: Timestamp) -> Timestamp {
        match self {
            Self::Idle(span) => used.after(span),
            Self::At(moment) => moment,
        }
    }
}

/// How to create a stream.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Create {
    /// What it is.
    pub settings: Settings,
    /// The stream that it continues.
    pub fork: Option<ForkFrom>,
    /// Its first messages.
    pub messages: Vec<Bytes>,
    /// Whether it is closed from the start.
    pub closed: bool,
}

impl Create {
    /// An empty, open stream with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Error> {
        let settings = &self.settings;
        check_bytes(
            "a content type",
            settings.content_type.len(),
            limits::CONTENT_TYPE_BYTES,
        )?;
        if let Some(schema) = &settings.schema {
            check_bytes("a schema", schema.len(), limits.schema_bytes)?;
        }
        check_bytes("a note", settings.note.len(), limits::NOTE_BYTES)?;
        check_messages(&self.messages, limits)
    }
}

pub(crate) fn check_bytes(what: &'static str, bytes: usize, limit: usize) -> Result<(), Error> {
    if bytes > limit {
        return Err(Kind::TooLarge {
            what,
            bytes: bytes as u64,
            limit: limit as u64,
        }
        .into());
    }
    Ok(())
}

/// More than this can't be read back, whatever the limits say: lengths are 32 bits wide.
const GREATEST: usize = 1 << 30;

pub(crate) fn check_messages(messages: &[Bytes], limits: &Limits) -> Result<(), Error> {
    if messages.len() > limits.append_messages {
        let limit = limits.append_messages as u64;
        return Err(Kind::TooMany {
            what: "too many messages in one append",
            limit,
        }
        .into());
    }
    let mut all = 0_usize;
    for message in messages {
        check_bytes(
            "a message",
            message.len(),
            limits.message_bytes.min(GREATEST),
        )?;
        all = all.saturating_add(message.len());
    }
    check_bytes("an append", all, limits.append_bytes.min(GREATEST))
}

/// Where a fork leaves its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkFrom {
    /// The stream that is forked.
    pub source: StreamName,
    /// The fork has what is before this offset. The source's tail, where there is none.
    pub at: Option<Offset>,
    /// The incarnation of that offset, where the source must have it: else it is no fork point.
    pub of: Option<Incarnation>,
    /// And so much of what follows.
    pub skip: Skip,
}

/// The sub-offset of a fork: how much it has of what follows its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// So many messages, none past the source's tail.
    Messages(u64),
    /// So many bytes of the next message, and no more than it has.
    Bytes(u64),
}

impl Skip {
    /// Nothing of what follows.
    pub const NONE: Self = Self::Messages(0);
}

/// Where a stream left the one that it is a fork of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkPoint {
    /// The stream that was forked. It keeps this name as long as the fork lives.
    pub source: StreamName,
    /// The offset that was asked for, or the source's tail at that moment.
    pub at: Offset,
    /// The sub-offset that was asked for.
    pub skip: Skip,
    /// The first offset that is the fork's own.
    pub own: Offset,
}

/// Refuses a fork at an offset that is another stream's.
pub(crate) fn check_fork_of(source: &Lineage, from: &ForkFrom) -> Result<(), Error> {
    let (Some(at), Some(incarnation)) = (from.at, from.of) else {
        return Ok(());
    };
    match source.find(Mark { at, incarnation }) {
        Some(_) => Ok(()),
        None => Err(Kind::ForkPoint("the fork's offset is none of its source's").into()),
    }
}

/// The lineage of a fork that starts on its own at `own`, and has `cut` bytes of the last message before that, where not
/// all: then the offset behind that message isn't its source's.
pub(crate) fn fork_lineage(
    source: &Lineage,
    incarnation: Incarnation,
    own: Offset,
    cut: Option<usize>,
) -> Lineage {
    let parting = own.number().saturating_sub(u64::from(cut.is_some()));
    source.fork(incarnation, Offset::new(parting))
}

/// Where a fork at offset `at` of a source that ends at `tail` starts on its own, and how much it
/// has of the last message before that, where not all. `next` is the size of the message at `at`.
pub(crate) fn own_part(
    at: u64,
    tail: u64,
    skip: Skip,
    next: Option<u64>,
) -> Result<(u64, Option<usize>), Error> {
    if at > tail {
        return Err(Kind::ForkPoint("the fork's offset is past the source's tail").into());
    }
    let past = Kind::ForkPoint("the fork's sub-offset is past the next boundary");
    match skip {
        Skip::Messages(count) if count <= tail - at => Ok((at + count, None)),
        Skip::Bytes(0) => Ok((at, None)),
        Skip::Bytes(bytes) => match next {
            Some(all) if bytes == all => Ok((at + 1, None)),
            Some(all) if bytes < all => Ok((at + 1, usize::try_from(bytes).ok())),
            _ => Err(past.into()),
        },
        Skip::Messages(_) => Err(past.into()),
    }
}
