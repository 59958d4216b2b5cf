/// Limits for one item of a decoder.
///
/// Both bounds are inclusive: an item of exactly [`max_item_bytes`](Self::max_item_bytes) passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of one item in bytes as encoded, without its framing (line ends, SSE field
    /// names, the commas of an array). Defaults to 8 MiB.
    pub max_item_bytes: usize,
    /// Maximum nesting depth of arrays and objects in one JSON item; `[[1]]` has depth 2. Defaults
    /// to 127.
    pub max_depth: usize,
}

impl Limits {
    /// The default size limit: 8 MiB.
    pub const DEFAULT_MAX_ITEM_BYTES: usize = 8 * 1024 * 1024;
    /// The default depth limit: 127, which is what `serde_json` reads.
    pub const DEFAULT_MAX_DEPTH: usize = 127;

    /// Sets [`max_item_bytes`](Self::max_item_bytes).
    #[must_use]
    pub fn with_max_item_bytes(mut self, bytes: usize) -> Self {
        self.max_item_bytes = bytes;
        self
    }

    /// Sets [`max_depth`](Self::max_depth).
    #[must_use]
    pub fn with_max_depth(mut self, depth: usize) -> Self {
        self.max_depth = depth;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_item_bytes: Self::DEFAULT_MAX_ITEM_BYTES,
            max_depth: Self::DEFAULT_MAX_DEPTH,
        }
    }
}
