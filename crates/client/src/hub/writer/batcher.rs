//! Waiting messages, and the requests that they form.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};

/// The cost of a message besides its bytes, so that empty messages aren't free.
pub(super) const OVERHEAD: usize = 64;

/// Maximum number of messages in a request.
pub(super) const BATCH_MESSAGES: usize = 10_000;

/// The body of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) messages: u64,
    /// The cost of its messages against the writer's capacity.
    pub(super) cost: usize,
}

/// The messages that wait to be sent.
pub(super) struct Gather {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// If `true`, the body is a JSON array; otherwise it is a single message.
    json: bool,
    max_bytes: usize,
}

impl Gather {
    /// `json` is `true` for a JSON stream. `max_bytes` is the approximate size of a body; a single
    /// message may be larger.
    pub(super) fn new(json: bool, max_bytes: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            json,
            max_bytes,
        }
    }

    pub(super) fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.waiting.push_back(message);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns `true` if waiting for more messages wouldn't enlarge the request.
    pub(super) fn is_full(&self) -> bool {
        let enough = match self.json {
            true => BATCH_MESSAGES,
            false => 1,
        };
        self.waiting.len() >= enough || self.bytes >= self.max_bytes
    }

    /// Removes the next message and returns its cost.
    fn pop(&mut self) -> Option<usize> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.len();
        Some(cost(&message))
    }

    /// Returns the body of the next request.
    pub(super) fn take(&mut self) -> Option<Body> {
        let first = self.waiting.front()?;
        if !self.json {
            let bytes = first.clone();
            let cost = self.pop()?;
            return Some(Body {
                bytes,
                messages: 1,
                cost,
            });
        }
        let mut body = BytesMut::with_capacity(self.bytes.min(self.max_bytes) + 2);
        let (mut messages, mut costs) = (0, 0);
        while let Some(message) = self.waiting.front() {
            let is_over =
                body.len() + message.len() > self.max_bytes || messages == BATCH_MESSAGES as u64;
            if messages > 0 && is_over {
                break;
            }
            body.put_u8(if messages == 0 { b'[' } else { b',' });
            body.put_slice(message);
            messages += 1;
            costs += self.pop()?;
        }
        body.put_u8(b']');
        Some(Body {
            bytes: body.freeze(),
            messages,
            cost: costs,
        })
    }
}

/// The cost of a message against the writer's capacity.
pub(super) fn cost(message: &Bytes) -> usize {
    message.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(mut gather: Gather, messages: &[&'static str]) -> Vec<(String, u64)> {
        for message in messages {
            gather.push(Bytes::from_static(message.as_bytes()));
        }
        let mut bodies = Vec::new();
        while let Some(body) = gather.take() {
            bodies.push((String::from_utf8(body.bytes.into()).unwrap(), body.messages));
        }
        assert!(gather.is_empty() && gather.bytes == 0);
        bodies
    }

    fn body(text: &str, messages: u64) -> (String, u64) {
        (text.to_owned(), messages)
    }

    #[test]
    fn messages_of_json_share_an_array_up_to_its_size() {
        let gather = Gather::new(true, 8);
        let expected = [
            body("[1,22,3]", 3),
            body("[[4,5]]", 1),
            body("[\"0123456789\"]", 1),
        ];
        assert_eq!(
            bodies(gather, &["1", "22", "3", "[4,5]", "\"0123456789\""]),
            expected
        );
    }

    #[test]
    fn a_message_of_another_type_is_the_body() {
        let gather = Gather::new(false, 100);
        assert_eq!(
            bodies(gather, &["one", "two"]),
            [body("one", 1), body("two", 1)]
        );
    }

    #[test]
    fn a_batch_is_full_at_its_size_and_not_before() {
        let mut gather = Gather::new(true, 4);
        gather.push(Bytes::from_static(b"123"));
        assert!(!gather.is_full());
        gather.push(Bytes::from_static(b"4"));
        assert!(gather.is_full());
        let mut single = Gather::new(false, 100);
        assert!(!single.is_full());
        single.push(Bytes::new());
        assert!(single.is_full());
        assert_eq!(single.pop(), Some(OVERHEAD));
    }
}
