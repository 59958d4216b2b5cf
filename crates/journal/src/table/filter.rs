//! A Bloom filter: it tells of most keys that a table doesn't contain that it doesn't.

use xxhash_rust::xxh3::xxh3_64;

/// Bits for each key. About one of 100 keys that aren't in the table passes.
const BITS: usize = 10;
/// Bits of a key that are set.
const PROBES: usize = 7;
const FEWEST_BYTES: usize = 8;

/// The hash of a key, from which its bits follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(xxh3_64(key))
    }

    /// Returns the bytes, and the bit in each, that the key sets in a filter of this length.
    fn bits(self, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
        let bits = bytes as u64 * 8;
        let step = self.0.rotate_left(21) | 1;
        let hashes = std::iter::successors(Some(self.0), move |hash| Some(hash.wrapping_add(step)));
        hashes.take(PROBES).map(move |hash| {
            let (_, bit) = hash.carrying_mul(bits, 0);
            let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
            (byte, 1 << (bit % 8))
        })
    }
}

/// Returns the filter of these keys.
pub(super) fn build(keys: &[KeyHash]) -> Vec<u8> {
    let bytes = (keys.len() * BITS).div_ceil(8).max(FEWEST_BYTES);
    let mut filter = vec![0; bytes];
    for key in keys {
        for (byte, bit) in key.bits(bytes) {
            filter[byte] |= bit;
        }
    }
    filter
}

/// Returns `false` if the filter's table doesn't contain the key.
pub(super) fn may_contain(filter: &[u8], key: KeyHash) -> bool {
    let mut bits = key.bits(filter.len());
    bits.all(|(byte, bit)| filter.get(byte).is_none_or(|byte| byte & bit != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_passes_and_of_others_one_in_a_hundred() {
        for count in [1, 10, 1000, 50_000] {
            let key = |number: u64| KeyHash::new(&number.to_be_bytes());
            let keys: Vec<KeyHash> = (0..count).map(key).collect();
            let filter = build(&keys);
            assert!(keys.iter().all(|key| may_contain(&filter, *key)));
            let others = (count..count + 100_000).map(key);
            let passed = others.filter(|key| may_contain(&filter, *key)).count();
            assert!(
                passed < 1200,
                "{passed} of 100000 pass the filter of {count}"
            );
        }
    }

    #[test]
    fn an_empty_filter_lets_everything_pass() {
        assert!(may_contain(&[], KeyHash::new(b"key")));
    }
}
