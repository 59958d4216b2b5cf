//! Blocks in memory.

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};

use super::block::BLOCK;

/// Memory for a block in the cache besides its bytes.
const CACHED: u64 = 100;

/// The number of a table and the offset of a block.
type BlockId = (u64, u64);

/// Blocks of tables in memory, shared by all tables whose numbers differ.
pub struct BlockCache(Cache<BlockId, Bytes, Weight>);

#[derive(Clone)]
struct Weight;

impl Weighter<BlockId, Bytes> for Weight {
    fn weight(&self, _: &BlockId, block: &Bytes) -> u64 {
        block.len() as u64 + CACHED
    }
}

impl BlockCache {
    /// Creates a cache of up to this number of bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let blocks = usize::try_from(bytes / BLOCK as u64).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(blocks, bytes, Weight))
    }

    pub(super) fn get(&self, block: BlockId) -> Option<Bytes> {
        self.0.get(&block)
    }

    pub(super) fn insert(&self, block: BlockId, pairs: Bytes) {
        self.0.insert(block, pairs);
    }
}
