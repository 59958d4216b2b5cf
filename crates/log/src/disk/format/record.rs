//! A record: messages of one stream that were committed together.

use bytes::Bytes;

use super::bytes::{Cursor, Malformed, SEAL, put_number, seal, unseal};
use super::keys;

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The position of its first message in the order of all streams.
    pub(crate) position: u64,
    /// The time of the commit, in milliseconds.
    pub(crate) time: u64,
    pub(crate) count: u32,
    /// Bytes of its messages.
    pub(crate) bytes: u64,
}

/// Encodes the record of stream `id` that starts at offset `first`.
pub(crate) fn encode(id: u64, first: u64, position: u64, time: u64, messages: &[Bytes]) -> Bytes {
    let payload: usize = messages.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(payload + 3 * messages.len() + 32 + SEAL);
    put_number(&mut out, position);
    put_number(&mut out, time);
    put_number(&mut out, messages.len() as u64);
    for message in messages {
        put_number(&mut out, message.len() as u64);
    }
    for message in messages {
        out.extend_from_slice(message);
    }
    seal(&keys::record(id, first), out).into()
}

/// A record with a valid seal. It shares the bytes from which it was decoded.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) first: u64,
    pub(crate) head: Head,
    value: Bytes,
    /// The starts of the lengths and of the messages in `value`.
    lengths: usize,
    payload: usize,
}

impl Record {
    /// Checks and decodes the value that is stored at `id` and `first`.
    pub(crate) fn decode(id: u64, first: u64, value: Bytes) -> Result<Self, Malformed> {
        unseal(&keys::record(id, first), &value)?;
        Self::trusted(first, value)
    }

    /// Decodes a value that this process encoded itself and has kept, without checking the seal.
    pub(crate) fn trusted(first: u64, value: Bytes) -> Result<Self, Malformed> {
        let body = value.len().checked_sub(SEAL).ok_or(Malformed)?;
        let mut cursor = Cursor(&value[..body]);
        let position = cursor.number()?;
        let time = cursor.number()?;
        let count = u32::try_from(cursor.number()?).map_err(|_| Malformed)?;
        let lengths = body - cursor.0.len();
        let mut bytes = 0_u64;
        for _ in 0..count {
            bytes = bytes.checked_add(cursor.number()?).ok_or(Malformed)?;
        }
        let payload = body - cursor.0.len();
        if count == 0 || bytes != cursor.0.len() as u64 {
            return Err(Malformed);
        }
        let head = Head {
            position,
            time,
            count,
            bytes,
        };
        Ok(Self {
            first,
            head,
            value,
            lengths,
            payload,
        })
    }

    /// Returns the offset after its last message.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.head.count)
    }

    /// Returns its messages, each with its offset.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let mut lengths = Cursor(&self.value[self.lengths..self.payload]);
        let mut start = self.payload;
        (self.first..self.end()).map_while(move |offset| {
            let length = usize::try_from(lengths.number().ok()?).ok()?;
            let message = self.value.slice(start..start + length);
            start += length;
            Some((offset, message))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_round_trips(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            id: u64, first in 0..1_u64 << 50, position: u64, time: u64,
        ) {
            let messages: Vec<Bytes> = messages.into_iter().map(Bytes::from).collect();
            let value = encode(id, first, position, time, &messages);
            let record = Record::decode(id, first, value.clone()).unwrap();
            let offsets: Vec<u64> = record.messages().map(|(offset, _)| offset).collect();
            prop_assert_eq!(offsets, (first..record.end()).collect::<Vec<_>>());
            let back: Vec<Bytes> = record.messages().map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(back, messages);
            prop_assert_eq!((record.head.position, record.head.time), (position, time));
            prop_assert!(Record::decode(id, first + 1, value.clone()).is_err());
            prop_assert!(Record::decode(id ^ 1, first, value).is_err());
        }

        #[test]
        fn a_damaged_record_is_refused(
            cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()
        ) {
            let value = encode(1, 2, 3, 4, &["one".into(), "two".into()]);
            let cut = value.slice(..cut.index(value.len()));
            prop_assert!(Record::decode(1, 2, cut.clone()).is_err());
            let _ = Record::trusted(2, cut);
            let mut flipped = value.to_vec();
            let bit = flip.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Record::decode(1, 2, flipped.into()).is_err());
        }
    }
}
