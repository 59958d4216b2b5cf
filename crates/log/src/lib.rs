//! A durable log of many streams.
//!
//! A stream has a name and grows at its end: messages are appended, in batches that are there whole
//! or not at all, and read from any offset. This crate knows nothing of HTTP, of JSON or of
//! subscribers: it stores what it is given, says what became of it, and tells those who follow
//! that there is more. What is on top of it is the hub's.
//!
//! - [`Log`] is the trait. An engine implements it; whoever uses a log holds an `Arc<dyn Log>`.
//! - [`FjallLog`] is a log in a folder, on the embedded database fjall. Its page has the format of
//!   what is on the disk, and how a commit comes about.
//! - [`MemoryLog`] is a log that ends with the process, and the model that engines are tested
//!   against.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use headwater_log::{
//!     Append, Create, FjallLog, FjallOptions, Log, Outcome, ReadFrom, Settings, StreamName,
//! };
//!
//! let folder = tempfile::tempdir().unwrap();
//! let log = FjallLog::open(folder.path(), FjallOptions::default())?;
//! let orders = StreamName::new("shop/orders")?;
//! log.create(&orders, Create::new(Settings::of_type("application/json"))).await?;
//!
//! // Exactly once: the same append again is known for what it is.
//! let order = Append::new(vec![r#"{"item":"tea"}"#.into()]).by("till-1", 0, 0);
//! assert!(matches!(log.append(&orders, order.clone()).await?, Outcome::Appended(_)));
//! assert!(matches!(log.append(&orders, order).await?, Outcome::Duplicate(_)));
//!
//! let mut follower = log.follow(&orders).await?;
//! let chunk = log.read(&orders, ReadFrom::Start, 64 << 10).await?;
//! assert_eq!(chunk.messages.len(), 1);
//! // At the tail: `follower.past(chunk.next)` waits for what comes next.
//! assert_eq!(follower.progress().tail, chunk.next);
//! # Ok::<(), headwater_log::Error>(()) }).unwrap();
//! ```
//!
//! # Decisions
//!
//! **An offset counts messages.** A message is what is appended, checked and kept whole, so
//! every offset that was ever given out is a boundary, in JSON and in bytes alike: a stream of bytes
//! has one message for each append. A fork whose sub-offset lies within a message has a shortened
//! message of that number, so that offsets never need translating.
//!
//! **What clients are given names its stream.** A [`Mark`] is an offset with the [`Incarnation`] of its stream, a hash of the
//! log's random [`Identity`] and the stream's number. So an offset of a deleted stream, of another one, or of a log that was
//! wiped is known as such: [`Lineage::find`]. A fork writes its source's marks up to where they part. Within the log, and to
//! whoever holds an [`Info`], offsets are plain numbers.
//!
//! **One order of everything.** Every message has a [`Position`] besides, dense over all streams, and so has the [end](Ended)
//! of every stream. One number resumes any set of streams.
//!
//! **A subscriber is an offset.** [`Follower`] tells that there is more; nothing is queued for it.
//!
//! **Messages are shared.** What is read are slices of a record in memory; a thousand readers of
//! one record hold it once.
//!
//! # Where the tests are
//!
//! Unit tests are beside the code. `tests/log` has the engines from outside: random operations
//! against the model with restarts, processes killed with -9, files cut and flipped, full disks,
//! limits. `examples/append.rs` measures.

mod append;
mod clock;
mod disk;
mod error;
mod follow;
mod incarnation;
pub mod limits;
mod log;
mod memory;
mod name;
mod offset;
mod producers;
mod read;
mod records;
mod rules;
mod settings;

pub use append::{Append, Outcome, Producer, Receipt, Refusal};
pub use clock::{Clock, JUMP as CLOCK_JUMP, SETTLED_AFTER as CLOCK_SETTLED_AFTER, Timestamp};
pub use disk::{BadFile, Durability, FjallLog, FjallOptions, Recovery};
pub use error::Error;
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
    Chunk, Created, EndCause, Ended, Entry, Info, Matching, Message, OrderChunk, Page, ReadFrom,
    Trimmed, Usage,
};
pub use settings::{Create, Expiry, ForkFrom, ForkPoint, Settings, Skip};
