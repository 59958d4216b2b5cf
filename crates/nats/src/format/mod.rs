//! The bytes of a JetStream message. `format.md` documents them.

pub(crate) mod batch;
pub(crate) mod bytes;
pub(crate) mod layout;
pub(crate) mod part;
