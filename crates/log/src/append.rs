use bytes::Bytes;

use crate::error::{Error, Kind};
use crate::incarnation::{Incarnation, Mark};
use crate::limits::{self, Limits};
use crate::offset::{Offset, Position};
use crate::producers::Published;
use crate::settings::{check_bytes, check_messages};

/// An append to one stream, applied in one step: all of it or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Append {
    /// The messages, in order. Empty is allowed only if the append closes the stream.
    pub messages: Vec<Bytes>,
    /// The producer and the number of this append, by which a repetition is recognised.
    pub producer: Option<Producer>,
    /// Everything that the producer has appended to the stream before. If it differs, the append is
    /// refused. It is only allowed on the first append of an epoch. With it, a producer takes over
    /// from an earlier epoch only if it knows what that epoch has stored.
    pub continues: Option<Published>,
    /// A text that must be greater, compared byte by byte, than the `seq` of the stream's last
    /// append that had one. Its scope is the stream.
    pub seq: Option<String>,
    /// The [number](crate::Info::id) of the stream that is meant. If another stream has the name by now, the append fails
    /// with [not found](Error::is_not_found). `None`: whichever stream has the name.
    pub stream: Option<u64>,
    /// `true` if the append closes the stream.
    pub close: bool,
    /// The reason for closing the stream, if it didn't end normally.
    /// [`Info::reason`](crate::Info::reason) returns it afterwards. It requires `close`. The log
    /// stores it unchecked.
    pub reason: Option<Bytes>,
}

impl Append {
    /// Creates an append of these messages.
    #[must_use]
    pub fn new(messages: Vec<Bytes>) -> Self {
        Self {
            messages,
            ..Self::default()
        }
    }

    /// Creates an append without messages that only closes the stream.
    #[must_use]
    pub fn closing() -> Self {
        Self {
            close: true,
            ..Self::default()
        }
    }

    /// Makes the append close the stream, with a reason.
    #[must_use]
    pub fn closing_for(mut self, reason: Bytes) -> Self {
        self.close = true;
        self.reason = Some(reason);
        self
    }

    /// Sets the producer, epoch and sequence number of the append.
    #[must_use]
    pub fn by(mut self, id: &str, epoch: u64, seq: u64) -> Self {
        self.producer = Some(Producer {
            id: id.to_owned(),
            epoch,
            seq,
        });
        self
    }

    /// Checks the append by itself, without a stream. For implementations of an engine.
    ///
    /// # Errors
    ///
    /// [Invalid](Error::is_invalid), and limits.
    pub fn check(&self, limits: &Limits) -> Result<(), Error> {
        if self.messages.is_empty() && !self.close {
            return Err(Kind::Invalid("an append needs a message, or closes the stream").into());
        }
        if let Some(reason) = &self.reason {
            if !self.close {
                return Err(Kind::Invalid("a reason needs the stream to be closed").into());
            }
            check_bytes("a reason", reason.len(), limits::REASON_BYTES)?;
        }
        if let Some(producer) = &self.producer {
            check_producer(producer)?;
        }
        if self.continues.is_some() && self.producer.as_ref().is_none_or(|by| by.seq != 0) {
            return Err(Kind::Invalid("a producer's precondition needs sequence number 0").into());
        }
        if let Some(seq) = &self.seq {
            check_bytes("a sequence text", seq.len(), limits::SEQ_BYTES)?;
        }
        check_messages(&self.messages, limits)
    }

    /// Returns the number of bytes of the messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.messages.iter().map(Bytes::len).sum()
    }
}

pub(crate) fn check_producer(producer: &Producer) -> Result<(), Error> {
    if producer.id.is_empty() {
        return Err(Kind::Invalid("a producer's id can't be empty").into());
    }
    check_bytes(
        "a producer's id",
        producer.id.len(),
        limits::PRODUCER_ID_BYTES,
    )?;
    if producer.epoch > limits::PRODUCER_NUMBER || producer.seq > limits::PRODUCER_NUMBER {
        return Err(Kind::Invalid("an epoch or sequence number is over 2^53 - 1").into());
    }
    Ok(())
}

/// One append of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer's id: 1 to [`limits::PRODUCER_ID_BYTES`] bytes.
    pub id: String,
    /// The producer's generation. A higher epoch fences the lower ones.
    pub epoch: u64,
    /// The number of the append within the epoch: 0, 1, 2, …
    pub seq: u64,
}

/// The outcome of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The append is in the log. Closing a closed stream without messages has this outcome too.
    Appended(Receipt),
    /// The producer's append was in the log already. Nothing was written.
    Duplicate(Receipt),
    /// The append conflicts with the state of the stream. Nothing was written.
    Refused(Refusal),
}

/// The offset and position after an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The offset after the append in its stream. For a duplicate: the offset that was acknowledged
    /// for the producer's last accepted append, which is the repeated one or a later one; the tail if the
    /// stream is closed.
    pub next: Offset,
    /// The incarnation of this offset.
    pub incarnation: Incarnation,
    /// The position after the append in the order of all streams. If no message was written: the
    /// end of that order at the time.
    pub position: Position,
    /// `true` if the stream is closed now.
    pub closed: bool,
    /// The highest sequence number accepted from this producer in this epoch.
    pub producer_seq: Option<u64>,
}

impl Receipt {
    /// Returns the offset after the append, in the form for clients.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            at: self.next,
            incarnation: self.incarnation,
        }
    }
}

/// The reason for which an append conflicts with the state of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The stream is closed.
    Closed {
        /// Its final offset.
        tail: Mark,
    },
    /// A higher epoch of the producer has appended.
    StaleEpoch {
        /// The latest epoch.
        current: u64,
    },
    /// The first append of a new epoch doesn't have sequence number 0.
    EpochStart {
        /// The sequence number of the append.
        received: u64,
    },
    /// Appends of the producer before this one are missing.
    Gap {
        /// The next expected sequence number.
        expected: u64,
        /// The sequence number of the append.
        received: u64,
    },
    /// The producer's append of this number is in the log, but has other messages, or only one of
    /// the two closes the stream.
    Reused {
        /// The sequence number of both appends.
        received: u64,
        /// The last sequence number that was accepted in this epoch.
        last: u64,
    },
    /// The producer's append of this number is so old that its fingerprint isn't kept any more.
    TooOld {
        /// The sequence number of the append.
        received: u64,
        /// The oldest sequence number whose fingerprint is kept.
        oldest: u64,
        /// The last sequence number that was accepted in this epoch.
        last: u64,
    },
    /// The producer has published something other than what the append
    /// [continues](Append::continues).
    Diverged {
        /// Everything that the producer has published to the stream.
        published: Published,
        /// The producer's latest epoch, or `None` if the stream doesn't know the producer.
        epoch: Option<u64>,
    },
    /// The append's `seq` is not greater than the last one.
    SeqRegression {
        /// The last `seq` of the stream.
        last: String,
    },
}
