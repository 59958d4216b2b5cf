use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use headwater_wire::{
    Decoder, Event, Format, Limits, Str,
    json::{self, SkipBom},
};

use super::{Head, encoding::encoded};
use crate::error::{Error, Kind, Wanted};

/// What the caller wants of the body.
#[derive(Debug, Clone)]
pub(crate) enum Reading {
    /// Items, in the format that the response names, or in this one whatever it names.
    Items {
        format: Option<Format>,
        limits: Limits,
    },
    /// Lines of text, whatever the content type.
    Lines { limits: Limits },
    /// Exactly so many bytes at a time, but for the last; not 0.
    Chunks(usize),
    /// Bytes as they come.
    Raw,
    /// Bytes as they come, of an answer with whichever status.
    Answer,
}

/// What the session gives.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Event(Event),
    Bytes(Bytes),
}

/// Takes the body of one response apart.
pub(super) enum Reader {
    Items(Box<Decoder>),
    /// `application/json` before it is known whether it is an array; then one value.
    Document(Document),
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
                    Some(Format::JsonArray) => Self::Document(Document::new(limits)),
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
            Reading::Raw | Reading::Answer => Self::Raw(VecDeque::new()),
        })
    }

    fn items(format: Format, limits: Limits) -> Self {
        Self::Items(Box::new(Decoder::new(format, limits)))
    }

    pub(super) fn format(&self) -> Option<Format> {
        match self {
            Self::Items(decoder) => Some(decoder.format()),
            Self::Document(_) => Some(Format::JsonArray),
            Self::Chunks(_) | Self::Raw(_) => None,
        }
    }

    /// Only for SSE: its decoder knows what a reconnect needs.
    pub(super) fn sse(&self) -> Option<&Decoder> {
        match self {
            Self::Items(decoder) if decoder.format() == Format::Sse => Some(decoder),
            _ => None,
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Items(decoder) => decoder.push(chunk),
            Self::Document(document) => {
                if let Some(decoder) = document.push(chunk) {
                    *self = Self::Items(decoder);
                }
            }
            Self::Chunks(chunks) => chunks.push(chunk),
            Self::Raw(queue) => queue.push_back(chunk),
        }
    }

    pub(super) fn finish(&mut self) {
        match self {
            Self::Items(decoder) => decoder.finish(),
            Self::Document(document) => document.finished = true,
            Self::Chunks(chunks) => chunks.finished = true,
            Self::Raw(_) => {}
        }
    }

    /// The next piece; `None`: more input is needed, or the finished body is at its end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Error> {
        match self {
            Self::Items(decoder) => match decoder.next() {
                Ok(event) => Ok(event.map(Piece::Event)),
                Err(error) => Err(Error::undecodable(error)),
            },
            Self::Document(document) => Ok(document.next()?.map(Piece::Event)),
            Self::Chunks(chunks) => Ok(chunks.next().map(Piece::Bytes)),
            Self::Raw(queue) => Ok(queue.pop_front().map(Piece::Bytes)),
        }
    }

    /// The next item, if it is already here and can be nothing but its JSON. `None` says nothing.
    #[inline]
    pub(super) fn next_json(&mut self) -> Option<Str> {
        let Self::Items(decoder) = self else {
            return None;
        };
        // In these an error stays, so `next` will give it.
        if !matches!(decoder.format(), Format::Ndjson | Format::JsonArray) {
            return None;
        }
        Some(decoder.next().ok()??.data)
    }

    /// Whether an error from [`next`](Self::next) is of one item only (RFC 7464 §2.1).
    pub(super) fn goes_on_after_an_error(&self) -> bool {
        matches!(self, Self::Items(decoder) if decoder.format() == Format::JsonSeq)
    }
}

/// The format of a content type, where any `…+json` is JSON (RFC 6839 §3.1).
fn format_of(content_type: &str) -> Option<Format> {
    Format::from_content_type(content_type).or_else(|| {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let suffix = essence.rsplit_once('+')?.1;
        suffix
            .eq_ignore_ascii_case("json")
            .then_some(Format::JsonArray)
    })
}

/// A body of JSON: if it doesn't start as an array, the whole of it is one item.
pub(super) struct Document {
    limits: Limits,
    bom: SkipBom,
    text: BytesMut,
    over_limit: bool,
    finished: bool,
    given: bool,
}

impl Document {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            bom: SkipBom::default(),
            text: BytesMut::new(),
            over_limit: false,
            finished: false,
            given: false,
        }
    }

    /// Takes a chunk, or gives the decoder of an array, which has taken it.
    fn push(&mut self, chunk: Bytes) -> Option<Box<Decoder>> {
        let chunk = self.bom.piece(chunk);
        if self.text.is_empty() {
            // White space before the value is nobody's (RFC 8259 §2).
            let first = chunk.iter().find(|byte| !b" \t\n\r".contains(byte))?;
            if *first == b'[' {
                let mut decoder = Decoder::new(Format::JsonArray, self.limits);
                decoder.push(chunk);
                return Some(Box::new(decoder));
            }
        }
        if self.text.len() + chunk.len() > self.limits.max_item_bytes {
            self.over_limit = true;
        } else {
            self.text.extend_from_slice(&chunk);
        }
        None
    }

    fn next(&mut self) -> Result<Option<Event>, Error> {
        if self.over_limit {
            return Err(Error::new(Kind::BodyTooLarge {
                limit: self.limits.max_item_bytes,
            }));
        }
        if !self.finished || self.given {
            return Ok(None);
        }
        self.given = true;
        let text = self.text.split().freeze();
        json::check(&text, self.limits.max_depth)
            .map_err(|error| Error::new(Kind::BodyNotJson(error)))?;
        // Checked: JSON is UTF-8.
        Ok(Some(Event::new(Str::from_utf8_lossy(text))))
    }
}

/// Cuts a body into pieces of one size. A piece that lies in one chunk isn't copied.
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
