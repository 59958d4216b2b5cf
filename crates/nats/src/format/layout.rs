//! The messages of an operation.

use std::ops::Range;

use bytes::Bytes;
use headwater_log::machine::{self, Cursor};

use super::bytes::{Malformed, Reader, put_number};

/// The messages have a line feed after each, and none within.
const LINES: u8 = 0;
/// The messages follow each other. Their sizes precede them.
const SIZED: u8 = 1;

/// The place of an operation's messages in its batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    is_lines: bool,
    /// The place of the first message.
    start: u32,
    /// The place after each message, relative to `start`, with its line feed.
    ends: Box<[u32]>,
}

impl Layout {
    pub(crate) fn empty() -> Self {
        Self {
            is_lines: false,
            start: 0,
            ends: Box::default(),
        }
    }

    /// Returns `true` if each message has a line feed after it, and none within.
    pub(crate) fn is_lines(&self) -> bool {
        self.is_lines
    }

    /// Returns the number of messages.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the place after the last message.
    pub(crate) fn end(&self) -> usize {
        self.start as usize + self.ends.last().map_or(0, |&end| end as usize)
    }

    /// Appends the places, without the messages and without their kind.
    pub(crate) fn put_places(&self, out: &mut Vec<u8>) {
        put_number(out, self.start.into());
        put_number(out, self.len() as u64);
        let mut before = 0;
        for &end in &self.ends {
            put_number(out, (end - before).into());
            before = end;
        }
    }

    /// Reads places. Each message that is a line has at least its line feed.
    pub(crate) fn take_places(
        from: &mut Cursor<'_>,
        is_lines: bool,
    ) -> Result<Self, machine::Malformed> {
        let small = |number: u64| u32::try_from(number).map_err(|_| machine::Malformed);
        let start = small(from.number()?)?;
        let mut ends = Vec::new();
        let mut end = 0_u32;
        for _ in 0..from.number()? {
            let size = small(from.number()?)?;
            end = end.checked_add(size).ok_or(machine::Malformed)?;
            if is_lines && size == 0 {
                return Err(machine::Malformed);
            }
            ends.push(end);
        }
        Ok(Self {
            is_lines,
            start,
            ends: ends.into(),
        })
    }

    /// Returns the place of a message with its line feed.
    fn place(&self, index: usize) -> Range<usize> {
        let end = |index: usize| self.ends.get(index).map_or(0, |&end| end as usize);
        let start = index.checked_sub(1).map_or(0, end);
        let base = self.start as usize;
        base + start..base + end(index)
    }

    /// Returns the place of consecutive messages, with the line feeds if there are any.
    pub(crate) fn places(&self, range: Range<usize>) -> Range<usize> {
        match range.end.checked_sub(1) {
            Some(last) if last >= range.start => {
                self.place(range.start).start..self.place(last).end
            }
            _ => 0..0,
        }
    }

    /// Returns the place of a message without its line feed.
    pub(crate) fn message(&self, index: usize) -> Range<usize> {
        let place = self.place(index);
        place.start..place.end - usize::from(self.is_lines)
    }

    pub(crate) fn put(out: &mut Vec<u8>, messages: &[Bytes]) {
        put_number(out, messages.len() as u64);
        if messages.is_empty() {
            return;
        }
        let is_lines = messages.iter().all(|message| !message.contains(&b'\n'));
        if is_lines {
            out.push(LINES);
            let bytes: usize = messages.iter().map(|message| message.len() + 1).sum();
            put_number(out, bytes as u64);
            for message in messages {
                out.extend_from_slice(message);
                out.push(b'\n');
            }
        } else {
            out.push(SIZED);
            for message in messages {
                put_number(out, message.len() as u64);
            }
            for message in messages {
                out.extend_from_slice(message);
            }
        }
    }

    /// Reads messages. They are slices of the batch.
    pub(crate) fn take(reader: &mut Reader) -> Result<(Vec<Bytes>, Self), Malformed> {
        let count = reader.size()?;
        if count == 0 {
            return Ok((Vec::new(), Self::empty()));
        }
        // Each message takes at least one byte: its line feed or its size.
        if count > reader.remaining() {
            return Err(Malformed::Field);
        }
        match reader.byte()? {
            LINES => Self::lines(reader, count),
            SIZED => Self::sized(reader, count),
            _ => Err(Malformed::Field),
        }
    }

    fn lines(reader: &mut Reader, count: usize) -> Result<(Vec<Bytes>, Self), Malformed> {
        let length = reader.size()?;
        let start = reader.at();
        let data = reader.take(length)?;
        let mut messages = Vec::with_capacity(count);
        let mut ends = Vec::with_capacity(count);
        let mut at = 0;
        for feed in memchr::memchr_iter(b'\n', &data) {
            messages.push(data.slice(at..feed));
            at = feed + 1;
            ends.push(small(at)?);
        }
        if messages.len() != count || at != length {
            return Err(Malformed::Field);
        }
        let layout = Self {
            is_lines: true,
            start: small(start)?,
            ends: ends.into(),
        };
        Ok((messages, layout))
    }

    fn sized(reader: &mut Reader, count: usize) -> Result<(Vec<Bytes>, Self), Malformed> {
        let sizes: Vec<usize> = (0..count)
            .map(|_| reader.size())
            .collect::<Result<_, _>>()?;
        let start = reader.at();
        let mut messages = Vec::with_capacity(count);
        let mut ends = Vec::with_capacity(count);
        for size in sizes {
            messages.push(reader.take(size)?);
            ends.push(small(reader.at() - start)?);
        }
        let layout = Self {
            is_lines: false,
            start: small(start)?,
            ends: ends.into(),
        };
        Ok((messages, layout))
    }
}

fn small(number: usize) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| Malformed::Field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_round_trip_and_are_found_at_their_places(
            messages in prop::collection::vec("[a-c\n]{0,5}", 0..9), before in 0..9_usize,
        ) {
            let messages: Vec<Bytes> = messages.into_iter().map(Bytes::from).collect();
            let mut out = vec![7; before];
            Layout::put(&mut out, &messages);
            let batch = Bytes::from(out);
            let mut reader = Reader::new(batch.clone());
            reader.take(before).unwrap();
            let (found, layout) = Layout::take(&mut reader).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert_eq!(&found, &messages);
            for (index, message) in messages.iter().enumerate() {
                prop_assert_eq!(&batch.slice(layout.message(index)), message);
            }
            if layout.is_lines() {
                let all = batch.slice(layout.places(0..messages.len()));
                let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
                prop_assert_eq!(lines.len(), messages.len());
            }
        }

        #[test]
        fn malformed_messages_are_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = Layout::take(&mut Reader::new(bytes.into()));
        }
    }

    #[test]
    fn a_count_that_exceeds_the_bytes_is_refused() {
        let mut out = Vec::new();
        put_number(&mut out, u64::MAX);
        out.extend([LINES, 1, b'\n']);
        let mut reader = Reader::new(out.into());
        assert_eq!(Layout::take(&mut reader).unwrap_err(), Malformed::Field);
    }
}
