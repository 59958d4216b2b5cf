//! The messages that a producer has published before, and their comparison with the messages that a
//! repeating writer is given. Pure.

use bytes::Bytes;
use headwater_wire::{Digest, Limits, sse::Splitter};

use super::super::{call::Reply, names, number, text};
use crate::error::{Error, Kind};

/// A producer's published messages in a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) messages: u64,
    pub(super) digest: Digest,
    /// The producer's latest epoch; `None` if it has never published.
    pub(super) epoch: Option<u64>,
}

impl Published {
    /// Reads them from the response's headers.
    ///
    /// # Errors
    /// The headers are missing: only a Headwater hub sends them.
    pub(super) fn of(reply: &Reply) -> Result<Self, Error> {
        let digest = text(&reply.headers, names::PRODUCER_DIGEST).map(str::parse);
        match (number(&reply.headers, names::PRODUCER_MESSAGES), digest) {
            (Some(messages), Some(Ok(digest))) => Ok(Self {
                messages,
                digest,
                epoch: number(&reply.headers, names::PRODUCER_EPOCH),
            }),
            _ => Err(Error::new(Kind::NoProducers)),
        }
    }
}

/// Consumes messages as long as they may be those that were published before.
#[derive(Debug)]
pub(super) struct Earlier {
    published: Published,
    shape: Shape,
    digest: Digest,
    /// The number of messages as the hub counts them.
    counted: u64,
    /// The number of messages that were passed.
    given: u64,
}

/// The way in which the hub splits the body of an append into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    Lines,
    Events,
}

impl Shape {
    pub(super) fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson" | "application/jsonl" => Self::Lines,
            _ => Self::Whole,
        }
    }
}

/// The result of comparing the messages passed so far with the published ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// Undecided: more messages are published.
    Unknown,
    /// They match, after this many were passed.
    Same { given: u64 },
}

impl Earlier {
    /// Returns `None` if the producer has published nothing.
    pub(super) fn new(published: Published, shape: Shape) -> Option<Self> {
        (published.messages > 0).then_some(Self {
            published,
            shape,
            digest: Digest::EMPTY,
            counted: 0,
            given: 0,
        })
    }

    /// Compares the next message.
    ///
    /// # Errors
    /// The messages differ.
    pub(super) fn compare(&mut self, message: &Bytes) -> Result<Compared, Error> {
        self.given += 1;
        match self.shape {
            Shape::Whole => self.add(message),
            Shape::Lines => {
                for line in message.split_inclusive(|&byte| byte == b'\n') {
                    self.add(line);
                }
            }
            Shape::Events => {
                let limits = Limits::default().with_max_item_bytes(message.len());
                let mut splitter = Splitter::new(limits);
                splitter.push(message.clone());
                splitter.finish();
                // No block of a message is longer than the message.
                while let Ok(Some(block)) = splitter.next() {
                    self.add(&block.bytes);
                }
            }
        }
        if self.counted < self.published.messages {
            return Ok(Compared::Unknown);
        }
        if self.counted == self.published.messages && self.digest == self.published.digest {
            return Ok(Compared::Same { given: self.given });
        }
        let published = self.published.messages;
        Err(Error::new(Kind::PublishedOther { published }))
    }

    fn add(&mut self, message: &[u8]) {
        self.digest.add(message);
        self.counted += 1;
    }

    /// The error if no more messages follow.
    pub(super) fn unfinished(&self) -> Error {
        Error::new(Kind::PublishedMore {
            published: self.published.messages,
            given: self.given,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier(messages: &[&str], shape: Shape) -> Option<Earlier> {
        let mut digest = Digest::EMPTY;
        messages
            .iter()
            .for_each(|message| digest.add(message.as_bytes()));
        let published = Published {
            messages: messages.len() as u64,
            digest,
            epoch: Some(1),
        };
        Earlier::new(published, shape)
    }

    /// Passes the messages. Returns the number after which they match.
    fn same(earlier: Option<Earlier>, messages: &[&'static str]) -> Result<Option<u64>, Error> {
        let mut earlier = earlier.unwrap();
        for message in messages {
            let message = Bytes::from_static(message.as_bytes());
            if let Compared::Same { given } = earlier.compare(&message)? {
                return Ok(Some(given));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_same_messages_match_once_all_were_passed() {
        assert!(earlier(&[], Shape::Whole).is_none());
        let two = || earlier(&["1", "2"], Shape::Whole);
        assert_eq!(same(two(), &["1"]).unwrap(), None);
        assert_eq!(same(two(), &["1", "2", "3"]).unwrap(), Some(2));
        for other in [["2", "1"], ["1", "3"], ["12", ""]] {
            assert!(same(two(), &other).unwrap_err().is_not_repeated());
        }
    }

    #[test]
    fn messages_are_counted_as_the_hub_counts_them() {
        let lines = || earlier(&["1\n", "2\n", "3"], Shape::Lines);
        assert_eq!(same(lines(), &["1\n2\n", "3"]).unwrap(), Some(2));
        assert_eq!(same(lines(), &["1\n2\n3"]).unwrap(), Some(1));
        assert!(same(lines(), &["1\n2\n", "3\n4"]).is_err());
        let events = earlier(&["data: 1\n\n", "data: 2\n\n"], Shape::Events);
        assert_eq!(same(events, &["data: 1\n\ndata: 2\n\n"]).unwrap(), Some(1));
        assert_eq!(Shape::of("Text/Event-Stream; charset=utf-8"), Shape::Events);
        assert_eq!(Shape::of("application/json"), Shape::Whole);
    }
}
