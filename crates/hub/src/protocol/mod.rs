//! The vocabulary of the protocol: header names and values, media types, offsets, cursors, paths, close reasons.
//!
//! Everything here is a value or parses one. Nothing here sees the log or the hub.

pub(crate) mod close_reason;
pub(crate) mod cursor;
pub(crate) mod header_names;
pub(crate) mod headers;
pub(crate) mod json;
pub(crate) mod media_type;
pub(crate) mod path;
pub(crate) mod public_url;
pub(crate) mod query;
pub(crate) mod read_query;
pub(crate) mod time;
