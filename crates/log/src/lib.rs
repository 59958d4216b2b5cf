//! A durable log of many streams.
#![doc = ""]

mod append;
mod clock;
mod disk;
mod error;
mod follow;
pub mod limits;
mod log;
mod memory;
mod name;
mod offset;
mod read;
mod records;
mod rules;
mod settings;

pub use append::{Append, Outcome, Producer, Receipt, Refusal};
pub use clock::{Clock, Timestamp};
pub use error::Error;
pub use disk::{Durability, FjallLog, FjallOptions, Recovery};
pub use follow::{Follower, OrderFollower, Progress};
pub use limits::Limits;
pub use log::{Answer, Log};
pub use memory::{MemoryLog, MemoryOptions};
pub use name::StreamName;
pub use offset::{Offset, Position};
pub use read::{
    Chunk, Created, Entry, Info, Matching, Message, OrderChunk, Page, ReadFrom, Usage,
};
pub use settings::{Create, Expiry, ForkFrom, ForkPoint, Settings, Skip};
