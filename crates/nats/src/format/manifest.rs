//! The message that completes a snapshot.

use headwater_log::machine::{self, Cursor};
use xxhash_rust::xxh3::xxh3_64;

use super::bytes::put_number;

/// The first byte of a manifest.
const MAGIC: u8 = 0xb7;
/// The version of the format.
const VERSION: u8 = 1;
/// Bytes of the checksum at the end.
const SUM: usize = 8;

/// The description of a complete snapshot. Its chunks are the messages right before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The sequence number of the last record whose effect is in the snapshot.
    pub(crate) sequence: u64,
    /// The hash of that record.
    pub(crate) hash: u64,
    /// Bytes of all records up to it, also of removed ones.
    pub(crate) written: u64,
    /// Bytes of the snapshot.
    pub(crate) length: u64,
    pub(crate) chunks: u64,
    /// The checksum of the snapshot.
    pub(crate) sum: u64,
    /// The sequence number of the manifest before, in the stream of snapshots, or 0.
    pub(crate) before: u64,
    /// The last record that this snapshot allows to remove, or 0.
    pub(crate) removable: u64,
}

/// A message that isn't a manifest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoManifest {
    #[error("a manifest is damaged")]
    Damaged,
    #[error("a manifest is of format {0}, and this version reads {VERSION}")]
    Version(u8),
}

impl From<machine::Malformed> for NoManifest {
    fn from(_: machine::Malformed) -> Self {
        Self::Damaged
    }
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![MAGIC, VERSION];
        out.extend(self.hash.to_le_bytes());
        out.extend(self.sum.to_le_bytes());
        for number in [
            self.sequence,
            self.written,
            self.length,
            self.chunks,
            self.before,
            self.removable,
        ] {
            put_number(&mut out, number);
        }
        let sum = xxh3_64(&out);
        out.extend(sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(message: &[u8]) -> Result<Self, NoManifest> {
        let (body, sum) = message
            .split_last_chunk::<SUM>()
            .ok_or(NoManifest::Damaged)?;
        let mut from = Cursor(body);
        let (magic, version) = (from.byte()?, from.byte()?);
        if magic != MAGIC || xxh3_64(body) != u64::from_le_bytes(*sum) {
            return Err(NoManifest::Damaged);
        }
        if version != VERSION {
            return Err(NoManifest::Version(version));
        }
        let mut fixed = || {
            let bytes = from.take(SUM)?.first_chunk();
            let bytes = bytes.ok_or(NoManifest::Damaged)?;
            Ok::<_, NoManifest>(u64::from_le_bytes(*bytes))
        };
        let (hash, sum) = (fixed()?, fixed()?);
        let manifest = Self {
            hash,
            sum,
            sequence: from.number()?,
            written: from.number()?,
            length: from.number()?,
            chunks: from.number()?,
            before: from.number()?,
            removable: from.number()?,
        };
        from.end()?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_manifest_round_trips_and_no_other_bytes_are_one(
            numbers: [u64; 8], at in any::<prop::sample::Index>(), change in 1_u8.., bytes: Vec<u8>,
        ) {
            let [sequence, hash, written, length, chunks, sum, before, removable] = numbers;
            let manifest = Manifest { sequence, hash, written, length, chunks, sum, before, removable };
            let mut encoded = manifest.encode();
            prop_assert_eq!(Manifest::decode(&encoded), Ok(manifest));
            let at = at.index(encoded.len());
            encoded[at] ^= change;
            prop_assert_eq!(Manifest::decode(&encoded), Err(NoManifest::Damaged));
            prop_assert_eq!(Manifest::decode(&bytes), Err(NoManifest::Damaged));
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut newer = vec![MAGIC, VERSION + 1, 7];
        newer.extend(xxh3_64(&newer).to_le_bytes());
        let decoded = Manifest::decode(&newer);
        assert_eq!(decoded, Err(NoManifest::Version(VERSION + 1)));
    }
}
