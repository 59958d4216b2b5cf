//! What is on the disk: every key, every value, written and read in one place each.

pub(crate) mod bytes;
pub(crate) mod commit;
pub(crate) mod end;
pub(crate) mod head;
pub(crate) mod keys;
pub(crate) mod marker;
pub(crate) mod record;
pub(crate) mod settings;
pub(crate) mod state;

/// The number of this format.
pub(crate) const VERSION: u64 = 3;
