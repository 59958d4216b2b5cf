//! The bytes of JetStream messages. `format.md` documents them.

pub(crate) mod batch;
pub(crate) mod bytes;
pub(crate) mod layout;
pub(crate) mod manifest;
pub(crate) mod part;
pub(crate) mod places;
