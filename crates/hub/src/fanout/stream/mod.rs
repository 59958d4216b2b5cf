//! Live readers of streams. Each reader is a position, not a queue.
//!
//! A stream with live readers has one [`Tail`]: a task reads each new message once and keeps the
//! newest ones in a [ring](ring), in batches whose encoded forms all readers share. A
//! [reader](reader) takes batches from the ring while it is near the tail, and reads from the log
//! when it is behind. Its memory is bounded regardless of its speed. It receives either the
//! messages that follow its position or an error.

mod catch_up;
pub(crate) mod encode;
mod join;
pub(crate) mod preframed;
mod pump;
pub(crate) mod reader;
mod ring;

pub(crate) use catch_up::CatchUp;
pub(crate) use encode::{Form, Shape};
pub(crate) use join::PIECE_BYTES;
pub(crate) use pump::Tails;
pub(crate) use reader::Reader;
