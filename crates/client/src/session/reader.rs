use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use headwater_wire::{
    Decoder, Event, Format, Limits, Str,
    json::{Document, DocumentError},
    sse::{Block, Splitter},
};

use super::{Head, encoding::encoded};
use crate::error::{Error, Kind, Wanted};

/// The way in which the caller reads the body.
#[derive(Debug, Clone)]
pub enum Reading {
    /// Items, in the format that the response names, or in the given format regardless of that.
    Items {
        /// The given format.
        format: Option<Format>,
        /// The limits of an item.
        limits: Limits,
    },
    /// Lines of text, regardless of the content type.
    Lines {
        /// The limits of a line.
        limits: Limits,
    },
    /// Chunks of exactly this many bytes, except the last; not 0.
    Chunks(usize),
    /// Bytes as they arrive.
    Raw,
    /// Bytes as they arrive, of a response with any status.
    Answer,
    /// The body unchanged, for programs that pass it on: the blocks of an event stream, and other
    /// bodies as they arrive. An event stream can be resumed once it has sent an id. The first
    /// response may have any status and any content coding.
    Unchanged {
        /// The limits of a block.
        limits: Limits,
        /// Maximum size in bytes of a body that can't be resumed.
        max_bytes: usize,
    },
}

impl Reading {
    /// The maximum size in bytes of a body that can't be resumed.
    pub(super) fn max_bytes(&self) -> usize {
        match self {
            Self::Unchanged { max_bytes, .. } => *max_bytes,
            _ => usize::MAX,
        }
    }
}

/// A piece that the session yields.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// An event, or another item.
    Event(Event),
    /// A part of the body.
    Bytes(Bytes),
    /// A block of an event stream.
    Block(Box<Block>),
}

/// The decoder of one response's body.
pub(super) enum Reader {
    Items(Box<Decoder>),
    Blocks(Box<Splitter>),
    /// `application/json` until its first byte shows that it is an array; otherwise one value.
    Document {
        text: Document,
        limits: Limits,
    },
    Chunks(Chunks),
    Raw(VecDeque<Bytes>),
}

impl Reader {
    pub(super) fn open(reading: &Reading, head: &Head) -> Result<Self, Error> {
        if let Some(found) = &head.content_encoding
            && matches!(reading, Reading::Items { .. } | Reading::Lines { .. })
        {
            return Err(encoded(found.clone()));
        }
        Ok(match *reading {
            Reading::Items { format, limits } => {
                let named = || head.content_type.as_deref().and_then(format_of);
                match format.or_else(named) {
                    Some(Format::JsonArray) => Self::Document {
                        text: Document::new(limits),
                        limits,
                    },
                    Some(format) => Self::items(format, limits),
                    None => {
                        let found = head.content_type.clone();
                        let wanted = Wanted::AnyFormat;
                        return Err(Error::new(Kind::ContentType { found, wanted }));
                    }
                }
            }
            Reading::Lines { limits } => Self::items(Format::Text, limits),
            Reading::Chunks(size) => Self::Chunks(Chunks::new(size)),
            Reading::Unchanged { limits, .. }
                if head.status.is_success()
                    && head.content_type.as_deref().and_then(format_of) == Some(Format::Sse) =>
            {
                Self::Blocks(Box::new(Splitter::new(limits)))
            }
            Reading::Raw | Reading::Answer | Reading::Unchanged { .. } => {
                Self::Raw(VecDeque::new())
            }
        })
    }

    fn items(format: Format, limits: Limits) -> Self {
        Self::Items(Box::new(Decoder::new(format, limits)))
    }

    pub(super) fn format(&self) -> Option<Format> {
        match self {
            Self::Items(decoder) => Some(decoder.format()),
            Self::Blocks(_) => Some(Format::Sse),
            Self::Document { .. } => Some(Format::JsonArray),
            Self::Chunks(_) | Self::Raw(_) => None,
        }
    }

    /// The decoder of a decoded SSE body.
    pub(super) fn sse(&self) -> Option<&Decoder> {
        match self {
            Self::Items(decoder) if decoder.format() == Format::Sse => Some(decoder),
            _ => None,
        }
    }

    /// The reconnection time that the body has set.
    pub(super) fn retry(&self) -> Option<Duration> {
        match self {
            Self::Blocks(splitter) => splitter.retry(),
            _ => self.sse()?.retry(),
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Items(decoder) => decoder.push(chunk),
            Self::Blocks(splitter) => splitter.push(chunk),
            Self::Document { text, limits } => {
                if let Some(array) = text.push(chunk) {
                    let mut decoder = Decoder::new(Format::JsonArray, *limits);
                    decoder.push(array);
                    *self = Self::Items(Box::new(decoder));
                }
            }
            Self::Chunks(chunks) => chunks.push(chunk),
            Self::Raw(queue) => queue.push_back(chunk),
        }
    }

    pub(super) fn finish(&mut self) {
        match self {
            Self::Items(decoder) => decoder.finish(),
            Self::Blocks(splitter) => splitter.finish(),
            Self::Document { text, .. } => text.finish(),
            Self::Chunks(chunks) => chunks.finished = true,
            Self::Raw(_) => {}
        }
    }

    /// Returns the next piece. `None`: more input is needed, or the finished body is at its end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Error> {
        match self {
            Self::Items(decoder) => match decoder.next() {
                Ok(event) => Ok(event.map(Piece::Event)),
                Err(error) => Err(Error::undecodable(error)),
            },
            Self::Blocks(splitter) => match splitter.next() {
                Ok(block) => Ok(block.map(|block| Piece::Block(Box::new(block)))),
                Err(error) => Err(Error::undecodable(error)),
            },
            Self::Document { text, .. } => match text.value() {
                Ok(value) => Ok(value.map(|value| Piece::Event(Event::new(value)))),
                Err(DocumentError::TooLarge { limit }) => {
                    Err(Error::new(Kind::BodyTooLarge { limit }))
                }
                Err(DocumentError::Invalid(error)) => Err(Error::new(Kind::BodyNotJson(error))),
            },
            Self::Chunks(chunks) => Ok(chunks.next().map(Piece::Bytes)),
            Self::Raw(queue) => Ok(queue.pop_front().map(Piece::Bytes)),
        }
    }

    /// Returns the next item if it has already been received and consists only of its JSON. `None`
    /// has no meaning.
    #[inline]
    pub(super) fn next_json(&mut self) -> Option<Str> {
        let Self::Items(decoder) = self else {
            return None;
        };
        // In these formats the decoder keeps an error, so `next` still returns it.
        if !matches!(decoder.format(), Format::Ndjson | Format::JsonArray) {
            return None;
        }
        Some(decoder.next().ok()??.data)
    }

    /// Returns `true` if an error from [`next`](Self::next) affects only one item (RFC 7464 §2.1).
    pub(super) fn goes_on_after_an_error(&self) -> bool {
        matches!(self, Self::Items(decoder) if decoder.format() == Format::JsonSeq)
    }
}

/// The format of a content type. Any `…+json` is JSON (RFC 6839 §3.1).
fn format_of(content_type: &str) -> Option<Format> {
    Format::from_content_type(content_type).or_else(|| {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let suffix = essence.rsplit_once('+')?.1;
        suffix
            .eq_ignore_ascii_case("json")
            .then_some(Format::JsonArray)
    })
}

/// Splits a body into pieces of one size. A piece that lies within one received chunk isn't copied.
pub(super) struct Chunks {
    size: usize,
    queue: VecDeque<Bytes>,
    queued: usize,
    finished: bool,
}

impl Chunks {
    fn new(size: usize) -> Self {
        Self {
            size,
            queue: VecDeque::new(),
            queued: 0,
            finished: false,
        }
    }

    fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.queued += chunk.len();
            self.queue.push_back(chunk);
        }
    }

    fn next(&mut self) -> Option<Bytes> {
        let size = if self.queued >= self.size {
            self.size
        } else if self.finished && self.queued > 0 {
            self.queued
        } else {
            return None;
        };
        self.queued -= size;
        let front = self.queue.front_mut()?;
        if front.len() > size {
            return Some(front.split_to(size));
        }
        if front.len() == size {
            return self.queue.pop_front();
        }
        let mut piece = BytesMut::with_capacity(size);
        while let Some(front) = self.queue.front_mut() {
            let missing = size - piece.len();
            if front.len() > missing {
                piece.extend_from_slice(&front.split_to(missing));
                break;
            }
            piece.extend_from_slice(front);
            self.queue.pop_front();
        }
        Some(piece.freeze())
    }
}
