//! A block: sorted pairs that are read and checked together.

use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Most bytes of a block with more than one pair, with its checksum.
pub(super) const BLOCK: usize = 4096;
/// Bytes of the checksum at a block's end.
pub(super) const SUM: usize = 8;
/// A value of at least this part of its block shares the block's memory. A smaller one is copied, so
/// that it doesn't keep the block in memory.
const SHARED_PART: usize = 2;

/// Returns the checksum of the pairs of a block at this place.
pub(super) fn sum(pairs: &[u8], number: u64, offset: u64) -> [u8; SUM] {
    let seed = xxh3_64_with_seed(&offset.to_le_bytes(), number);
    xxh3_64_with_seed(pairs, seed).to_le_bytes()
}

/// Returns the pairs of a block at this place, or `None` if its checksum is wrong.
pub(super) fn verified(mut block: Bytes, number: u64, offset: u64) -> Option<Bytes> {
    let (pairs, found) = block.split_last_chunk()?;
    if *found != sum(pairs, number, offset) {
        return None;
    }
    block.truncate(block.len() - SUM);
    Some(block)
}

/// Appends a pair. `last` is the key before it in the block.
pub(super) fn push_pair(out: &mut Vec<u8>, last: &[u8], key: &[u8], value: Option<&[u8]>) {
    let shared = last.iter().zip(key).take_while(|(a, b)| a == b).count();
    push_number(out, shared as u64);
    push_number(out, (key.len() - shared) as u64);
    push_number(out, value.map_or(0, |value| value.len() as u64 + 1));
    out.extend_from_slice(&key[shared..]);
    out.extend_from_slice(value.unwrap_or_default());
}

/// Appends a number in LEB128.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        out.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    out.push(low);
}

/// Takes a number in LEB128. Returns `None` if there is none, or it exceeds 64 bits.
pub(super) fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes this number of bytes. Returns `None` if there are fewer.
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(bytes)
}

/// A cursor over the pairs of a block. It starts before the first one.
pub(super) struct Pairs {
    block: Bytes,
    /// Offset of the next pair.
    next: usize,
    key: Vec<u8>,
    value: Option<Range<usize>>,
}

impl Pairs {
    pub(super) fn new(block: Bytes) -> Self {
        Self {
            block,
            next: 0,
            key: Vec::new(),
            value: None,
        }
    }

    /// Moves to the next pair. Returns `Some(false)` at the end, and `None` if the block contains
    /// anything but pairs.
    pub(super) fn advance(&mut self) -> Option<bool> {
        let mut rest = self.block.get(self.next..)?;
        if rest.is_empty() {
            return Some(false);
        }
        let shared = usize::try_from(take_number(&mut rest)?).ok()?;
        let length = take_number(&mut rest)?;
        let tag = take_number(&mut rest)?;
        let own = take_bytes(&mut rest, length)?;
        if shared > self.key.len() {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(own);
        self.value = None;
        if let Some(length) = tag.checked_sub(1) {
            let start = self.block.len() - rest.len();
            let value = take_bytes(&mut rest, length)?;
            self.value = Some(start..start + value.len());
        }
        self.next = self.block.len() - rest.len();
        Some(true)
    }

    /// Returns the key of the current pair.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns the place of the current pair's value, or `None` for a deletion.
    pub(super) fn place(&self) -> Option<Range<usize>> {
        self.value.clone()
    }

    /// Returns the value at a place that [`place`](Self::place) returned.
    pub(super) fn value(&self, place: Option<Range<usize>>) -> Option<Bytes> {
        let place = place?;
        Some(if place.len() >= self.block.len() / SHARED_PART {
            self.block.slice(place)
        } else {
            Bytes::copy_from_slice(&self.block[place])
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_round_trips(number: u64, behind: Vec<u8>) {
            let mut out = Vec::new();
            push_number(&mut out, number);
            for cut in 0..out.len() {
                prop_assert_eq!(take_number(&mut &out[..cut]), None);
            }
            out.extend(&behind);
            let mut rest = out.as_slice();
            prop_assert_eq!(take_number(&mut rest), Some(number));
            prop_assert_eq!(rest, behind);
        }

        #[test]
        fn any_bytes_are_pairs_or_none(block: Vec<u8>) {
            let mut pairs = Pairs::new(block.into());
            while pairs.advance() == Some(true) {
                pairs.value(pairs.place());
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_none() {
        let nine = [0xff; 9];
        assert_eq!(
            take_number(&mut &[&nine[..], &[1]].concat()[..]),
            Some(u64::MAX)
        );
        assert_eq!(take_number(&mut &[&nine[..], &[2]].concat()[..]), None);
        assert_eq!(take_number(&mut &[0x80; 11][..]), None);
    }
}
