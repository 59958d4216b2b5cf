use bytes::Bytes;

use crate::error::{Error, Kind};
use crate::incarnation::{Incarnation, Mark};
use crate::limits::{self, Limits};
use crate::offset::{Offset, Position};
use crate::producers::Published;
use crate::settings::{check_bytes, check_messages};

/// What is to be appended to one stream, in one step: all of it or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Append {
    /// The messages, in order. None is allowed only where the append closes the stream.
    pub messages: Vec<Bytes>,
    /// Who appends, and as which append of theirs, so that a repetition is known as one.
    pub producer: Option<Producer>,
    /// What the producer must have appended to the stream before, in all: exactly this, or the append is refused. It goes
    /// with the first append of an epoch, so that a producer takes over from an earlier life only where it knows what that
    /// has stored.
    pub continues: Option<Published>,
    /// A text that must be greater, byte by byte, than that of the stream's last append that had
    /// one. Its scope is the stream.
    pub seq: Option<String>,
    /// Whether the stream is closed with it.
    pub close: bool,
    /// Why it is closed, where it didn't come to its own end: [`Info::reason`](crate::Info::reason) has it from then on. It
    /// goes with `close`. The log stores it and checks nothing.
    pub reason: Option<Bytes>,
}

impl Append {
    /// These messages and nothing else.
    #[must_use]
    pub fn new(messages: Vec<Bytes>) -> Self {
        Self {
            messages,
            ..Self::default()
        }
    }

    /// No messages: only closes the stream.
    #[must_use]
    pub fn closing() -> Self {
        Self {
            close: true,
            ..Self::default()
        }
    }

    /// The same append, which closes the stream for a reason.
    #[must_use]
    pub fn closing_for(mut self, reason: Bytes) -> Self {
        self.close = true;
        self.reason = Some(reason);
        self
    }

    /// The same append, as this one of a producer.
    #[must_use]
    pub fn by(mut self, id: &str, epoch: u64, seq: u64) -> Self {
        self.producer = Some(Producer {
            id: id.to_owned(),
            epoch,
            seq,
        });
        self
    }

    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Error> {
        if self.messages.is_empty() && !self.close {
            return Err(Kind::Invalid("an append needs a message, or closes the stream").into());
        }
        if let Some(reason) = &self.reason {
            if !self.close {
                return Err(Kind::Invalid("a reason goes with closing the stream").into());
            }
            check_bytes("a reason", reason.len(), limits::REASON_BYTES)?;
        }
        if let Some(producer) = &self.producer {
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
        }
        if self.continues.is_some() && self.producer.as_ref().is_none_or(|by| by.seq != 0) {
            return Err(
                Kind::Invalid("what a producer continues goes with its sequence number 0").into(),
            );
        }
        if let Some(seq) = &self.seq {
            check_bytes("a sequence text", seq.len(), limits::SEQ_BYTES)?;
        }
        check_messages(&self.messages, limits)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(Bytes::len).sum()
    }
}

/// One append of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Which producer: 1 to [`limits::PRODUCER_ID_BYTES`] bytes.
    pub id: String,
    /// Which life of the producer. A higher one shuts out the lower ones.
    pub epoch: u64,
    /// Which append of that life: 0, 1, 2, …
    pub seq: u64,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log. A stream that was closed before and is only to be closed again is this too.
    Appended(Receipt),
    /// This very append of the producer was in the log already; nothing was written.
    Duplicate(Receipt),
    /// It does not fit what is in the stream; nothing was written.
    Refused(Refusal),
}

/// Where an append ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The offset after it, in the stream that was appended to. Of a duplicate: what was acknowledged for the last append of
    /// the producer that was accepted, which is the one repeated or a later one.
    pub next: Offset,
    /// The incarnation that this offset has.
    pub incarnation: Incarnation,
    /// The position after it in the order of all streams. Of what wrote no message: where that
    /// order ended at the time.
    pub position: Position,
    /// Whether the stream is closed now.
    pub closed: bool,
    /// The highest sequence number accepted from this producer in this epoch.
    pub producer_seq: Option<u64>,
}

impl Receipt {
    /// The offset after the append, as clients are given it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            at: self.next,
            incarnation: self.incarnation,
        }
    }
}

/// Why an append does not fit its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The stream is closed.
    Closed {
        /// Its final offset.
        tail: Mark,
    },
    /// A later life of the producer has appended.
    StaleEpoch {
        /// The epoch of that life.
        current: u64,
    },
    /// A new epoch does not start at sequence number 0.
    EpochStart {
        /// The sequence number that came.
        received: u64,
    },
    /// Appends of the producer before this one are missing.
    Gap {
        /// The sequence number that is due.
        expected: u64,
        /// The one that came.
        received: u64,
    },
    /// The producer's append of this number is in the log, and had other messages, or did not close the stream as this one
    /// does or the other way round.
    Reused {
        /// The number of both.
        received: u64,
        /// The last sequence number that was accepted in this epoch.
        last: u64,
    },
    /// The producer's append of this number was so long ago that what it held is not known any more.
    TooOld {
        /// The number that came.
        received: u64,
        /// The oldest one of which that is known.
        oldest: u64,
        /// The last sequence number that was accepted in this epoch.
        last: u64,
    },
    /// The producer has published something else than it [continues](Append::continues).
    Diverged {
        /// What it has published.
        published: Published,
        /// Its latest epoch; `None` where the stream doesn't know it.
        epoch: Option<u64>,
    },
    /// The append's `seq` is not greater than the last.
    SeqRegression {
        /// The last.
        last: String,
    },
}
