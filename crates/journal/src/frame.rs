//! A frame: the unit that is written and recovered as a whole.
//!
//! ```text
//! 0        4        8        12                20              20 + h                 20 + b
//! ├────────┼────────┼────────┼─────────────────┼───────────────┼──────────────────────┤
//! │ b      │ h      │ link   │ checksum        │ head, h bytes │ data, b − h bytes    │
//! │ u32    │ u32    │ u32    │ u64             │               │                      │
//! └────────┴────────┴────────┴─────────────────┴───────────────┴──────────────────────┘
//! checksum   XXH3-64 of bytes 0..12 and the head, seeded with the identity of the journal, the
//!            number of the segment and the offset of the frame
//! link       the lower half of the checksum of the frame before, also across segments
//! ```
//!
//! Numbers are little-endian. The checksum covers the head alone, so that it can be read without the
//! data. The head holds checksums of the data, in a form that the user of the journal chooses.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Number of bytes before the head.
pub(crate) const PREFIX: usize = 20;
/// Number of bytes of the prefix that the checksum covers.
const COVERED: usize = 12;

/// The place of a frame, which its checksum depends on. A frame of another journal, or of an earlier
/// use of the file, doesn't pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    pub(crate) identity: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Seed {
    fn number(self) -> u64 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.identity.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..].copy_from_slice(&self.offset.to_le_bytes());
        xxh3_64_with_seed(&bytes, 0)
    }
}

/// The numbers before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Bytes of head and data.
    pub(crate) body: u32,
    pub(crate) head: u32,
    pub(crate) link: u32,
    pub(crate) checksum: u64,
}

impl Prefix {
    /// Creates the prefix of a frame with this head, and `data` bytes after it.
    pub(crate) fn new(head: &[u8], body: u32, link: u32, seed: Seed) -> Self {
        let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
        let mut prefix = Self {
            body,
            head: length,
            link,
            checksum: 0,
        };
        prefix.checksum = prefix.sum(head, seed);
        prefix
    }

    fn sum(&self, head: &[u8], seed: Seed) -> u64 {
        let mut hasher = Xxh3::with_seed(seed.number());
        hasher.update(&self.encode()[..COVERED]);
        hasher.update(head);
        hasher.digest()
    }

    pub(crate) fn encode(&self) -> [u8; PREFIX] {
        let mut out = [0; PREFIX];
        out[..4].copy_from_slice(&self.body.to_le_bytes());
        out[4..8].copy_from_slice(&self.head.to_le_bytes());
        out[8..COVERED].copy_from_slice(&self.link.to_le_bytes());
        out[COVERED..].copy_from_slice(&self.checksum.to_le_bytes());
        out
    }

    /// Decodes a prefix with at most `room` bytes after it. Returns `None` for one that can't be a
    /// frame's. [`matches`](Self::matches) decides about the others.
    pub(crate) fn decode(bytes: &[u8; PREFIX], room: usize) -> Option<Self> {
        let [a, b, c, d, rest @ ..] = bytes;
        let body = u32::from_le_bytes([*a, *b, *c, *d]);
        let [a, b, c, d, rest @ ..] = rest;
        let head = u32::from_le_bytes([*a, *b, *c, *d]);
        let [a, b, c, d, checksum @ ..] = rest;
        let link = u32::from_le_bytes([*a, *b, *c, *d]);
        let checksum = u64::from_le_bytes(*checksum);
        // A frame has a head. Zeros are the end of a segment.
        let fits = head > 0 && head <= body && usize::try_from(body).is_ok_and(|it| it <= room);
        fits.then_some(Self {
            body,
            head,
            link,
            checksum,
        })
    }

    /// Returns `true` if this is the prefix of a frame with this head, at this place.
    pub(crate) fn matches(&self, head: &[u8], seed: Seed) -> bool {
        self.sum(head, seed) == self.checksum
    }

    /// Returns the link of the next frame.
    pub(crate) fn next_link(&self) -> u32 {
        let [a, b, c, d, ..] = self.checksum.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_round_trips_and_fits_one_place_only(
            head in prop::collection::vec(any::<u8>(), 1..99), data in 0..9999_u32, link: u32,
            identity: u64, segment: u64, offset: u64, bit in any::<prop::sample::Index>(),
        ) {
            let seed = Seed { identity, segment, offset };
            let body = data + u32::try_from(head.len()).unwrap();
            let prefix = Prefix::new(&head, body, link, seed);
            let bytes = prefix.encode();
            let room = usize::try_from(body).unwrap();
            prop_assert_eq!(Prefix::decode(&bytes, room), Some(prefix));
            prop_assert_eq!(Prefix::decode(&bytes, room - 1), None);
            prop_assert!(prefix.matches(&head, seed));
            for other in [
                Seed { identity: identity ^ 1, ..seed },
                Seed { segment: segment ^ 1, ..seed },
                Seed { offset: offset ^ 1, ..seed },
            ] {
                prop_assert!(!prefix.matches(&head, other));
            }

            let mut whole = [&bytes[..], &head].concat();
            let bit = bit.index(whole.len() * 8);
            whole[bit / 8] ^= 1 << (bit % 8);
            let (bytes, head) = whole.split_first_chunk().unwrap();
            let changed = Prefix::decode(bytes, usize::MAX);
            prop_assert!(changed.is_none_or(|changed| !changed.matches(head, seed)));
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(Prefix::decode(&[0; PREFIX], usize::MAX), None);
    }
}
