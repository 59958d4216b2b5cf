use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::incarnation::{Incarnation, Lineage, Mark};
use crate::limits::{self, Limits};
use crate::name::StreamName;
use crate::offset::Offset;

/// The settings of a new stream. They never change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The media type of the messages, as it was given. The log stores it unchecked.
    pub content_type: String,
    /// The time at which the stream expires.
    pub expiry: Option<Expiry>,
    /// Minimum time for which a message is kept. Older messages are trimmed in the background.
    pub max_age: Option<Duration>,
    /// Maximum bytes of messages that are kept. Above it, the oldest are trimmed in the background.
    /// The last record is always kept.
    pub max_bytes: Option<u64>,
    /// A schema of the messages. The log stores it unchecked.
    pub schema: Option<Bytes>,
    /// Application data that the creator can read back later, or empty. The log stores it
    /// unchecked. A fork doesn't inherit its source's.
    pub note: Bytes,
}

impl Settings {
    /// Creates settings with this content type and defaults for the rest.
    #[must_use]
    pub fn of_type(content_type: &str) -> Self {
        Self {
            content_type: content_type.to_owned(),
            ..Self::default()
        }
    }
}

/// The time at which a stream expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After this long without a [use](crate::Log::touch) or an append, in whole milliseconds.
    Idle(Duration),
    /// At this time, whether it is used or not.
    At(Timestamp),
}

impl Expiry {
    /// Returns the expiry of a stream that was last used at `used`.
    #[must_use]
    pub fn after(self, used: Timestamp) -> Timestamp {
        match self {
            Self::Idle(span) => used.after(span),
            Self::At(moment) => moment,
        }
    }
}

/// A request to create a stream.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Create {
    /// The settings of the stream.
    pub settings: Settings,
    /// The fork point, if the stream is a fork.
    pub fork: Option<ForkFrom>,
    /// The first messages.
    pub messages: Vec<Bytes>,
    /// `true` if the stream is closed from the start.
    pub closed: bool,
}

impl Create {
    /// Creates a request for an empty, open stream with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Checks the request by itself, without other streams. For implementations of an engine.
    ///
    /// # Errors
    ///
    /// Limits.
    pub fn check(&self, limits: &Limits) -> Result<(), Error> {
        check_settings(&self.settings, limits)?;
        check_messages(&self.messages, limits)
    }
}

pub(crate) fn check_settings(settings: &Settings, limits: &Limits) -> Result<(), Error> {
    check_bytes(
        "a content type",
        settings.content_type.len(),
        limits::CONTENT_TYPE_BYTES,
    )?;
    if let Some(schema) = &settings.schema {
        check_bytes("a schema", schema.len(), limits.schema_bytes)?;
    }
    check_bytes("a note", settings.note.len(), limits::NOTE_BYTES)
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

/// Maximum bytes of a message or an append, whatever [`Limits`] allow. A larger one couldn't be
/// read back, because lengths are 32 bits wide.
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

/// The point at which a fork leaves its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkFrom {
    /// The stream that is forked.
    pub source: StreamName,
    /// The fork inherits the messages before this offset. Defaults to the source's tail.
    pub at: Option<Offset>,
    /// The incarnation of `at`. If the offset isn't the source's, the fork point is refused.
    pub of: Option<Incarnation>,
    /// The sub-offset: the part of the messages after `at` that the fork inherits too.
    pub skip: Skip,
}

/// The sub-offset of a fork: the part of its source after the offset that it inherits too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// This many messages, none past the source's tail.
    Messages(u64),
    /// This many bytes of the next message, at most its length.
    Bytes(u64),
}

impl Skip {
    /// Nothing after the offset.
    pub const NONE: Self = Self::Messages(0);
}

/// The point at which a stream was forked from its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkPoint {
    /// The source's name. It stays taken as long as the fork exists.
    pub source: StreamName,
    /// The requested offset, or the source's tail at that time.
    pub at: Offset,
    /// The requested sub-offset.
    pub skip: Skip,
    /// The fork's first own offset.
    pub own: Offset,
}

/// Refuses a fork at an offset that belongs to another stream.
fn check_fork_of(source: &Lineage, from: &ForkFrom) -> Result<(), Error> {
    let (Some(at), Some(incarnation)) = (from.at, from.of) else {
        return Ok(());
    };
    match source.find(Mark { at, incarnation }) {
        Some(_) => Ok(()),
        None => Err(Kind::ForkPoint("the fork's offset is not an offset of its source").into()),
    }
}

/// Returns the lineage of a fork whose own messages start at `own`. `cut` is the number of bytes of
/// the last inherited message, if it is shortened. The offset after a shortened message isn't the
/// source's.
pub(crate) fn fork_lineage(
    source: &Lineage,
    incarnation: Incarnation,
    own: Offset,
    cut: Option<usize>,
) -> Lineage {
    let parting = own.number().saturating_sub(u64::from(cut.is_some()));
    source.fork(incarnation, Offset::new(parting))
}

/// Returns the offset of the source at which a fork begins.
///
/// # Errors
/// The fork names another incarnation of its source, or an offset that was trimmed.
pub(crate) fn fork_offset(
    source: &Lineage,
    from: &ForkFrom,
    floor: u64,
    tail: u64,
) -> Result<u64, Error> {
    check_fork_of(source, from)?;
    let at = from.at.map_or(tail, Offset::number);
    if at < floor {
        return Err(Kind::Trimmed {
            floor: source.at(Offset::new(floor)),
        }
        .into());
    }
    Ok(at)
}

/// Returns the point of a fork at offset `at` of a source with this tail, and the number of bytes of the
/// last inherited message if it is shortened. `next` is the size of the message at `at`.
pub(crate) fn fork_point(
    from: ForkFrom,
    at: u64,
    tail: u64,
    next: Option<u64>,
) -> Result<(ForkPoint, Option<usize>), Error> {
    let (own, cut) = own_part(at, tail, from.skip, next)?;
    let point = ForkPoint {
        source: from.source,
        at: Offset::new(at),
        skip: from.skip,
        own: Offset::new(own),
    };
    Ok((point, cut))
}

/// Returns the first own offset of a fork at offset `at` of a source with this tail, and the number
/// of bytes of the last inherited message if it is shortened. `next` is the size of the message at
/// `at`.
fn own_part(
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
