//! The on-disk format. Every key and value is encoded and decoded in exactly one place.

pub(crate) mod commit;
pub(crate) mod commits_file;
pub(crate) mod ended;
pub(crate) mod keys;
pub(crate) mod log_head;
pub(crate) mod manifest;
pub(crate) mod record;

pub(crate) use crate::encoding as bytes;

/// The version of this format.
pub(crate) const VERSION: u64 = 5;
