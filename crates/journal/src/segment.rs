//! A segment: a file of fixed length that starts with a header and contains frames.
//!
//! ```text
//! 0       4       8               16              24              32      36      40      48          4096
//! ├───────┼───────┼───────────────┼───────────────┼───────────────┼───────┼───────┼───────┼── zeros ──┤
//! │ HWJ1  │version│ number        │ identity      │ first frame   │ link  │ 0     │ xxh3  │           │
//! ├───────┴───────┴───────────────┴───────────────┴───────────────┴───────┴───────┴───────┴───────────┤
//! │ frame │ frame │ frame │ …                                              │ zeros or stale frames    │
//! └───────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The header is written with the first frame. It also says where the segment before it ends: after the
//! frame before *first frame*, whose [link](crate::frame) is *link*. A segment without a valid header
//! is prepared and unused.

use xxhash_rust::xxh3::xxh3_64;

/// Length of the header. Frames begin after it.
pub(crate) const HEADER: usize = 4096;
const MAGIC: [u8; 4] = *b"HWJ1";
const VERSION: u32 = 1;
/// Number of bytes of the header that the checksum covers.
const COVERED: usize = 40;
/// End of a segment's file name.
const SUFFIX: &str = ".seg";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) identity: u64,
    /// The number of the first frame.
    pub(crate) first: u64,
    pub(crate) link: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.identity.to_le_bytes());
        out[24..32].copy_from_slice(&self.first.to_le_bytes());
        out[32..36].copy_from_slice(&self.link.to_le_bytes());
        let sum = xxh3_64(&out[..COVERED]);
        out[COVERED..COVERED + 8].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Decodes the header of segment `number` of the journal `identity`. Returns `None` for anything
    /// else, such as the header of an earlier use of the file.
    pub(crate) fn decode(bytes: &[u8; HEADER], number: u64, identity: u64) -> Option<Self> {
        let number_at = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let [low @ .., _, _, _, _] = number_at(32).to_le_bytes();
        let header = Self {
            number: number_at(8),
            identity: number_at(16),
            first: number_at(24),
            link: u32::from_le_bytes(low),
        };
        let is_right = header.number == number && header.identity == identity;
        (is_right && header.encode() == *bytes).then_some(header)
    }
}

/// Returns the name of a segment's file.
#[must_use]
pub fn segment_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// Returns the number of a segment's file, or `None` for another file.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_round_trips_and_no_bit_of_it_can_change(
            number: u64, identity: u64, first: u64, link: u32,
            bit in any::<prop::sample::Index>(),
        ) {
            let header = Header { number, identity, first, link };
            let mut bytes = header.encode();
            prop_assert_eq!(Header::decode(&bytes, number, identity), Some(header));
            prop_assert_eq!(Header::decode(&bytes, number ^ 1, identity), None);
            prop_assert_eq!(Header::decode(&bytes, number, identity ^ 1), None);
            let bit = bit.index(HEADER * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes, number, identity), None);
        }

        #[test]
        fn a_name_has_one_number(number: u64) {
            prop_assert_eq!(segment_number(&segment_name(number)), Some(number));
            prop_assert_eq!(segment_number(&format!("{number}.seg.bak")), None);
        }
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in ["1.seg", "lock", "", ".seg", "+0000000000000000001.seg"] {
            assert_eq!(segment_number(name), None, "{name:?}");
        }
    }
}
