//! A durable log of many streams.
//!
//! A stream is named and append-only. Messages are appended in atomic batches and can be read from
//! any offset. This crate knows nothing of HTTP, JSON or subscribers. It stores bytes, returns the
//! outcome of each append, and notifies followers of new messages. Everything above that is in the
//! hub.
//!
//! - [`Log`] is the trait that every engine implements. Users of a log hold an `Arc<dyn Log>`.
//! - [`DiskLog`] is a log in a folder. Its page documents the on-disk format and the commit
//!   protocol.
//! - [`MemoryLog`] is a log in memory that ends with the process. It is also the model against
//!   which other engines are tested.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use headwater_log::{
//!     Append, Create, DiskLog, DiskOptions, Log, Outcome, ReadFrom, Settings, StreamName,
//! };
//!
//! let folder = tempfile::tempdir().unwrap();
//! let log = DiskLog::open(folder.path(), DiskOptions::default())?;
//! let orders = StreamName::new("shop/orders")?;
//! log.create(&orders, Create::new(Settings::of_type("application/json"))).await?;
//!
//! // Exactly once: the log recognises the repeated append as a duplicate.
//! let order = Append::new(vec![r#"{"item":"tea"}"#.into()]).by("till-1", 0, 0);
//! assert!(matches!(log.append(&orders, order.clone()).await?, Outcome::Appended(_)));
//! assert!(matches!(log.append(&orders, order).await?, Outcome::Duplicate(_)));
//!
//! let mut follower = log.follow(&orders).await?;
//! let chunk = log.read(&orders, ReadFrom::Start, 64 << 10).await?;
//! assert_eq!(chunk.count(), 1);
//! // At the tail: `follower.past(chunk.next)` waits for the next message.
//! assert_eq!(follower.progress().tail, chunk.next);
//! # Ok::<(), headwater_log::Error>(()) }).unwrap();
//! ```
//!
//! # Decisions
//!
//! **An offset counts messages.** A message is appended, checked and stored as a whole, so every
//! offset that a client ever received is a message boundary. This holds for JSON and for bytes: a
//! byte stream has one message per append. If the sub-offset of a fork lies within a message, the
//! fork has a shortened message with the same number, so offsets never need translation.
//!
//! **An offset that a client receives names its stream.** A [`Mark`] is an offset with the
//! [`Incarnation`] of its stream, which is a hash of the log's random [`Identity`] and the stream's
//! number. [`Lineage::find`] therefore rejects an offset of a deleted stream, of another stream, or
//! of a log that was wiped. A fork writes its source's marks up to the offset at which the two
//! diverge. Within the log, and for the holder of an [`Info`], offsets are plain numbers.
//!
//! **All streams share one order.** Every message also has a [`Position`], and so has the
//! [end](Ended) of every stream. Positions have no gaps. One position resumes any set of streams.
//!
//! **A subscriber is an offset.** A [`Follower`] only signals that there is more to read. Nothing
//! is queued for it.
//!
//! **Messages are shared.** Messages that were read are slices of one record in memory. A thousand
//! readers of a record share one copy.
//!
//! # Where the tests are
//!
//! Unit tests are next to the code. `tests/log` tests the engines through their public API: random
//! operations with restarts compared with the model, processes killed with -9, truncated and
//! corrupted files, full disks, and limits. `src/disk/tests` runs the engine on a disk in memory that
//! loses power after any operation, fails and flips bits. `examples/append.rs` measures append throughput.

mod append;
mod append_rules;
mod block;
mod clock;
mod disk;
mod encoding;
mod error;
mod follow;
mod grouping;
mod incarnation;
pub mod limits;
mod log;
pub mod machine;
mod memory;
mod name;
mod offset;
mod producers;
mod read;
mod restore;
mod settings;

pub use append::{Append, Outcome, Producer, Receipt, Refusal};
pub use block::Block;
pub use clock::{
    Clock, JUMP as CLOCK_JUMP, Monotonic, SETTLED_AFTER as CLOCK_SETTLED_AFTER, Timestamp,
};
pub use disk::{BadFile, DiskLog, DiskOptions, Durability, GivenUp, Rebuilt, Recovery, Written};
pub use error::{Error, Remedy};
pub use follow::{Follower, OrderFollower, Progress};
pub use headwater_wire::Digest;
pub use incarnation::{Identity, Incarnation, Lineage, Mark};
pub use limits::Limits;
pub use log::{Answer, Log};
pub use memory::{MemoryLog, MemoryOptions};
pub use name::StreamName;
pub use offset::{Offset, Position};
pub use producers::{Known, Published};
pub use read::{
    Chunk, Created, EndCause, Ended, Entry, Extent, Info, Matching, Message, OrderChunk, Page,
    ReadFrom, Trimmed, Usage,
};
pub use restore::{Image, ProducerImage, Restore, Restored};
pub use settings::{Create, Expiry, ForkFrom, ForkPoint, Settings, Skip};
