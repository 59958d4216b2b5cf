//! Live readers of streams, by position and not by queue.
//!
//! A stream that somebody follows has one [`Tail`]: a task reads what is appended, once, and keeps the newest of it in a
//! [ring](ring), in batches whose encoded forms all readers share. A [reader](reader) is a position. Near the tail it
//! takes batches from the ring; when it is behind, it reads from the log. Nothing of a reader grows, however slow it
//! is, and what it is given is what follows its position or an error.

pub(crate) mod framed;
pub(crate) mod frames;
pub(crate) mod reader;
mod ring;
mod tail;

pub(crate) use frames::{Form, Shape};
pub(crate) use reader::{Reader, Seat, Seats};
pub(crate) use tail::Tails;
