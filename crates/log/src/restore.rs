//! Streams that are moved here from another log.

use bytes::Bytes;

use crate::append::{Producer, check_producer};
use crate::append_rules::State;
use crate::clock::Timestamp;
use crate::encoding::birth::Birth;
use crate::error::{Error, Kind};
use crate::incarnation::{Lineage, Mark};
use crate::limits::{self, Limits};
use crate::name::StreamName;
use crate::offset::Offset;
use crate::producers::{ProducerState, Published, Window};
use crate::settings::{Settings, check_bytes, check_messages, check_settings};

/// A stream without its messages and its producers, as of one moment. A copy in another log
/// [begins](Restore::Begin) with it.
///
/// It is no fork: the image of a fork is that of a stream with all messages that can be read in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The settings. Those that a fork has from its source are among them.
    pub settings: Settings,
    /// The time of creation.
    pub created: Timestamp,
    /// The time of the last append, or of creation if there was none.
    pub appended: Timestamp,
    /// The first readable offset.
    pub floor: Offset,
    /// The incarnations of the offsets, the oldest first, each with the last offset that has it. The last
    /// one is the stream's own, at the tail. Offsets don't decrease. At least one, at most [`limits::MARKS`].
    pub marks: Vec<Mark>,
    /// `true` if the stream is closed.
    pub closed: bool,
    /// The producer, epoch and sequence number of the append that closed it.
    pub closed_by: Option<Producer>,
    /// The reason for which it was closed, if one was given.
    pub reason: Option<Bytes>,
    /// The `seq` of the last append that had one.
    pub seq: Option<String>,
}

impl Image {
    /// Creates the image of a stream.
    pub(crate) fn of(
        settings: &Settings,
        created: u64,
        lineage: &Lineage,
        floor: u64,
        state: &State,
    ) -> Self {
        Self {
            settings: settings.clone(),
            created: Timestamp(created),
            appended: Timestamp(state.appended),
            floor: Offset::new(floor),
            marks: lineage.marks(Offset::new(state.tail)),
            closed: state.closed,
            closed_by: state.closed_by.clone(),
            reason: state.reason.clone(),
            seq: state.seq.as_deref().map(str::to_owned),
        }
    }

    /// Returns the mark of the offset after the last message.
    ///
    /// # Panics
    ///
    /// If there are no marks.
    #[must_use]
    pub fn tail(&self) -> Mark {
        *self.marks.last().expect("an image has at least one mark")
    }

    pub(crate) fn birth(&self, name: &StreamName) -> Birth {
        Birth {
            name: name.clone(),
            created: self.created.0,
            settings: self.settings.clone(),
            fork: None,
            marks: self.marks.clone(),
        }
    }

    /// Returns the state of a stream that begins with this, and has no messages yet.
    pub(crate) fn state(&self) -> State {
        State {
            floor: self.floor.number(),
            tail: self.floor.number(),
            closed: self.closed,
            closed_by: self.closed_by.clone(),
            reason: self.reason.clone(),
            hidden: true,
            restoring: true,
            appended: self.appended.0,
            seq: self.seq.as_deref().map(Into::into),
            ..State::default()
        }
    }

    /// Returns the state of a stream that is being restored, and began with another image of the same birth.
    pub(crate) fn renew(&self, state: &State) -> State {
        State {
            floor: state.floor,
            tail: state.tail,
            bytes: state.bytes,
            producers: state.producers,
            ..self.state()
        }
    }

    pub(crate) fn from_parts(birth: Birth, state: &State) -> Self {
        Self {
            settings: birth.settings,
            created: Timestamp(birth.created),
            appended: Timestamp(state.appended),
            floor: Offset::new(state.floor),
            marks: birth.marks,
            closed: state.closed,
            closed_by: state.closed_by.clone(),
            reason: state.reason.clone(),
            seq: state.seq.as_deref().map(str::to_owned),
        }
    }

    /// Returns `true` if a stream with this lineage and state is the one of the image, or a later state of
    /// it: it has the same messages up to the image's tail.
    pub(crate) fn is_in(&self, lineage: &Lineage, state: &State) -> bool {
        let tail = self.tail();
        // Each of these incarnations has the same messages up to there.
        let mut tails = self.marks.iter().filter(|mark| mark.at == tail.at);
        tails.any(|mark| lineage.find(*mark).is_some())
            && tail.at.number() <= state.tail
            && (state.closed || !self.closed)
    }

    fn check(&self, limits: &Limits) -> Result<(), Error> {
        check_settings(&self.settings, limits)?;
        let Some(last) = self.marks.last() else {
            return Err(Kind::Invalid("a stream to restore needs a mark").into());
        };
        if self.marks.len() > limits::MARKS {
            return Err(Kind::TooMany {
                what: "the stream was forked and moved too often",
                limit: limits::MARKS as u64,
            }
            .into());
        }
        if !self.marks.is_sorted_by(Mark::may_precede) {
            return Err(
                Kind::Invalid("the marks of a stream are in the order of their offsets").into(),
            );
        }
        if self.floor > last.at {
            return Err(Kind::Invalid("the first offset is after the last one").into());
        }
        if !self.closed && (self.reason.is_some() || self.closed_by.is_some()) {
            return Err(Kind::Invalid("a stream that isn't closed has no reason for it").into());
        }
        if let Some(reason) = &self.reason {
            check_bytes("a reason", reason.len(), limits::REASON_BYTES)?;
        }
        if let Some(producer) = &self.closed_by {
            check_producer(producer)?;
        }
        let seq = self.seq.as_ref().map_or(0, String::len);
        check_bytes("a sequence text", seq, limits::SEQ_BYTES)
    }
}

/// The state of a producer in a stream, with all that is needed to recognise its repetitions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerImage {
    /// The producer, its latest epoch and the last sequence number in it.
    pub producer: Producer,
    /// The offset after its last append.
    pub next: Offset,
    /// The time of its last append.
    pub used: Timestamp,
    /// Everything that it has appended.
    pub published: Published,
    /// Fingerprints of its newest appends of this epoch, the oldest first. At most
    /// [`limits::PRODUCER_WINDOW`].
    pub appends: Vec<u32>,
}

impl ProducerImage {
    /// Creates the state of a producer without appends.
    #[must_use]
    pub fn new(producer: Producer) -> Self {
        Self {
            producer,
            next: Offset::START,
            used: Timestamp(0),
            published: Published::default(),
            appends: Vec::new(),
        }
    }

    pub(crate) fn of(id: String, state: &ProducerState) -> Self {
        Self {
            producer: Producer {
                id,
                epoch: state.epoch,
                seq: state.seq,
            },
            next: Offset::new(state.next),
            used: Timestamp(state.used),
            published: state.published,
            appends: state.window.iter().collect(),
        }
    }

    /// Returns the state. A last use in the future counts as now.
    pub(crate) fn state(&self, now: u64) -> ProducerState {
        let mut window = Window::default();
        self.appends.iter().for_each(|hash| window.push(*hash));
        ProducerState {
            epoch: self.producer.epoch,
            seq: self.producer.seq,
            next: self.next.number(),
            used: self.used.0.min(now),
            published: self.published,
            window,
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_producer(&self.producer)?;
        if self.appends.len() > limits::PRODUCER_WINDOW {
            return Err(Kind::Invalid("a producer has too many fingerprints").into());
        }
        if self.published.messages > Offset::MAX.number() {
            return Err(Kind::Invalid("a producer has too many messages").into());
        }
        Ok(())
    }
}

/// A step of restoring a stream that was in another log.
///
/// The steps are `Begin`, then any number of the others, then `End`. Until then the stream is
/// [incomplete](Error::is_restoring): it can't be read, appended to or listed. Each step is durable when
/// it returns, so a later process continues with `Begin`, which returns the offset to continue from.
///
/// Marks of the original stay valid up to its tail. Later offsets have another incarnation, because the
/// original may have got other messages there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Begins the stream or, if it is incomplete, continues it. If the incomplete one has another image, it
    /// is dropped before. A complete stream that has the messages of the image stays as it is.
    Begin(Box<Image>),
    /// Adds or replaces states of producers.
    Producers(Vec<ProducerImage>),
    /// Adds messages with their times. They may be none.
    Messages {
        /// The offset of the first message. If it is after the tail, the messages in between were trimmed in
        /// the original, and those before count as trimmed too. If it is before the tail, nothing is added.
        at: Offset,
        /// The times of the messages. A time in the future counts as now.
        times: Vec<Timestamp>,
        /// The messages.
        messages: Vec<Bytes>,
    },
    /// Completes the stream, if it has all messages up to its image's tail.
    End,
}

impl Restore {
    /// Checks the step by itself. For implementations of an engine.
    ///
    /// # Errors
    ///
    /// [Invalid](Error::is_invalid), and limits.
    pub fn check(&self, limits: &Limits) -> Result<(), Error> {
        match self {
            Self::Begin(image) => image.check(limits),
            Self::Producers(producers) => producers.iter().try_for_each(ProducerImage::check),
            Self::Messages {
                times, messages, ..
            } => {
                if times.len() != messages.len() {
                    return Err(Kind::Invalid("each restored message has a time").into());
                }
                check_messages(messages, limits)
            }
            Self::End => Ok(()),
        }
    }

    /// Returns about how much memory the step takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Begin(image) => {
                let settings = &image.settings;
                let schema = settings.schema.as_ref().map_or(0, Bytes::len);
                let reason = image.reason.as_ref().map_or(0, Bytes::len);
                512 + 32 * image.marks.len() + schema + settings.note.len() + reason
            }
            Self::Producers(producers) => {
                let ids = producers.iter().map(|it| it.producer.id.len());
                256 * producers.len() + ids.sum::<usize>()
            }
            Self::Messages { messages, .. } => {
                messages.iter().map(|message| message.len() + 72).sum()
            }
            Self::End => 0,
        }
    }
}

/// The result of a step of restoring a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The offset after the stream's last message.
    pub tail: Offset,
    /// `true` if the stream is complete.
    pub complete: bool,
}

impl Restored {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            tail: Offset::new(state.tail),
            complete: !state.restoring,
        }
    }
}

/// Checks that messages that begin at an offset don't end after the image's tail.
pub(crate) fn check_end(lineage: &Lineage, at: Offset, messages: usize) -> Result<(), Error> {
    let end = lineage
        .inherited()
        .last()
        .map_or(0, |mark| mark.at.number());
    match at.number().saturating_add(messages as u64) <= end {
        true => Ok(()),
        false => Err(Kind::Invalid("the messages end after the stream's last offset").into()),
    }
}

/// Checks that a stream has all messages up to the image's tail.
pub(crate) fn check_complete(lineage: &Lineage, state: &State) -> Result<(), Error> {
    let end = lineage.inherited().last().map(|mark| mark.at.number());
    match end == Some(state.tail) {
        true => Ok(()),
        false => Err(Kind::Invalid("the last messages of the stream are missing").into()),
    }
}
