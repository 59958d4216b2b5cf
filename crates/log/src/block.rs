//! Messages that are stored together.

use bytes::Bytes;
use memchr::memchr;

use crate::clock::Timestamp;
use crate::offset::Offset;
use crate::read::Message;

/// Consecutive messages of one stream that were appended together. Their bytes are shared, not
/// copied.
///
/// Messages without line feeds are stored as lines. A reader that sends lines can send the
/// [lines](Self::lines) of a block as they are, instead of joining the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    first: Offset,
    time: Timestamp,
    count: u32,
    /// The messages, each with a line feed after it, or one message.
    data: Bytes,
    is_lines: bool,
}

impl Block {
    /// Creates a block of one message. For implementations of an engine.
    #[must_use]
    pub fn message(first: Offset, time: Timestamp, data: Bytes) -> Self {
        Self {
            first,
            time,
            count: 1,
            data,
            is_lines: false,
        }
    }

    /// Creates a block of `count` messages without line feeds, each with a line feed after it. For
    /// implementations of an engine.
    #[must_use]
    pub fn of_lines(first: Offset, time: Timestamp, count: u32, data: Bytes) -> Self {
        Self {
            first,
            time,
            count,
            data,
            is_lines: true,
        }
    }

    /// Returns the offset before the first message.
    #[must_use]
    pub fn first(&self) -> Offset {
        self.first
    }

    /// Returns the offset after the last message.
    #[must_use]
    pub fn next(&self) -> Offset {
        Offset::new(self.first.number() + u64::from(self.count))
    }

    /// Returns the time of the append.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the number of messages, at least 1.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.into()
    }

    /// Returns the number of bytes of the messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let feeds = if self.is_lines { self.count } else { 0 };
        self.data.len().saturating_sub(feeds as usize)
    }

    /// Returns the messages as lines: each without a line feed in it, and with one after it. Returns
    /// `None` if the block isn't stored in this form.
    #[must_use]
    pub fn lines(&self) -> Option<&Bytes> {
        self.is_lines.then_some(&self.data)
    }

    /// Returns the messages.
    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        let mut rest = self.data.clone();
        let mut offsets = self.first.number()..self.next().number();
        std::iter::from_fn(move || {
            let offset = offsets.next()?;
            let bytes = match self.is_lines {
                true => {
                    let end = memchr(b'\n', &rest)?;
                    let bytes = rest.slice(..end);
                    bytes::Buf::advance(&mut rest, end + 1);
                    bytes
                }
                false => std::mem::take(&mut rest),
            };
            Some(Message {
                offset: Offset::new(offset),
                time: self.time,
                bytes,
            })
        })
    }

    /// Returns the messages from `from` on, before `limit`, and of at most `budget` bytes. `None` if there
    /// are none. If `at_least_one`, the first of them may have more bytes.
    pub(crate) fn part(
        &self,
        from: Offset,
        limit: Offset,
        budget: usize,
        at_least_one: bool,
    ) -> Option<Self> {
        let is_inside = from <= self.first && self.next() <= limit;
        if is_inside && (self.bytes() <= budget || (self.count == 1 && at_least_one)) {
            return Some(self.clone());
        }
        if !self.is_lines {
            return None;
        }
        let mut at = self.first;
        let (mut start, mut end) = (0, 0);
        let mut taken = Self {
            first: from.max(self.first),
            count: 0,
            ..self.clone()
        };
        while at < limit.min(self.next()) {
            let length = memchr(b'\n', self.data.get(end..)?)?;
            at = Offset::new(at.number() + 1);
            if at <= from {
                end += length + 1;
                start = end;
                continue;
            }
            let bytes = end + length - start - taken.count as usize;
            if bytes > budget && !(at_least_one && taken.count == 0) {
                break;
            }
            end += length + 1;
            taken.count += 1;
        }
        taken.data = self.data.slice(start..end);
        (taken.count > 0).then_some(taken)
    }

    /// Splits off the last message, which is shortened to `length` bytes. The rest is `None` if there are no
    /// others.
    pub(crate) fn cut_last(mut self, length: usize) -> (Option<Self>, Self) {
        let before = match self.is_lines {
            true => {
                let lines = self.data.strip_suffix(b"\n").unwrap_or(&self.data);
                memchr::memrchr(b'\n', lines).map_or(0, |at| at + 1)
            }
            false => 0,
        };
        let mut message = self.data.split_off(before);
        if self.is_lines {
            message.truncate(message.len().saturating_sub(1));
        }
        message.truncate(length);
        let last = Offset::new(self.next().number() - 1);
        let last = Self::message(last, self.time, message);
        self.count -= 1;
        ((self.count > 0).then_some(self), last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(first: u64, messages: &[String]) -> Block {
        let data = messages.iter().flat_map(|text| [text.as_str(), "\n"]);
        let count = messages.len().try_into().unwrap();
        let data = data.collect::<String>().into();
        Block::of_lines(Offset::new(first), Timestamp(7), count, data)
    }

    fn offsets_and_texts(block: &Block) -> Vec<(u64, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let messages = block.messages();
        let found = messages.map(|message| (message.offset.number(), text(&message.bytes)));
        found.collect()
    }

    proptest! {
        #[test]
        fn a_part_has_the_messages_of_its_range_up_to_the_budget(
            messages in prop::collection::vec("[a-c]{0,9}", 1..9), first in 0..5_u64,
            from in 0..15_u64, length in 0..15_u64, budget in 0..60_usize, at_least_one: bool,
        ) {
            let block = lines(first, &messages);
            let limit = from + length;
            let part = block.part(Offset::new(from), Offset::new(limit), budget, at_least_one);
            let mut bytes = 0;
            let all = (first..).zip(messages).filter(|(at, _)| (from..limit).contains(at));
            let wanted: Vec<_> = all.enumerate().take_while(|(index, (_, text))| {
                bytes += text.len();
                (*index == 0 && at_least_one) || bytes <= budget
            }).map(|(_, message)| message).collect();
            let found = part.as_ref().map(offsets_and_texts).unwrap_or_default();
            prop_assert_eq!(&found, &wanted);
            if let Some(part) = part {
                let bytes: usize = wanted.iter().map(|(_, text)| text.len()).sum();
                prop_assert_eq!((part.messages().count(), part.bytes()), (wanted.len(), bytes));
                prop_assert_eq!(part.count(), part.next().number() - part.first().number());
                prop_assert_eq!(part.next().number(), wanted.last().unwrap().0 + 1);
            }
        }

        #[test]
        fn the_last_message_is_cut(messages in prop::collection::vec("[a-c]{0,9}", 1..9), length in 0..12_usize) {
            let (rest, last) = lines(3, &messages).cut_last(length);
            let mut wanted: Vec<_> = (3..).zip(messages).collect();
            wanted.last_mut().unwrap().1.truncate(length);
            let mut found = rest.as_ref().map(offsets_and_texts).unwrap_or_default();
            found.extend(offsets_and_texts(&last));
            prop_assert_eq!(found, wanted);
            prop_assert!(last.lines().is_none());
        }
    }

    #[test]
    fn a_single_message_can_contain_line_feeds() {
        let block = Block::message(Offset::new(4), Timestamp(7), "a\nb".into());
        assert_eq!(offsets_and_texts(&block), [(4, "a\nb".to_owned())]);
        assert_eq!((block.count(), block.bytes(), block.lines()), (1, 3, None));
        assert_eq!(block.part(Offset::new(5), Offset::new(9), 9, true), None);
        let part = |at_least_one| block.part(Offset::new(4), Offset::new(5), 0, at_least_one);
        assert!(part(true).is_some() && part(false).is_none());
    }
}
