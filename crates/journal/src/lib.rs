//! The journal under a log: crash-safe segments of frames.
//!
//! A frame is a unit that exists as a whole or not at all. It is written by one `pwritev` into a file
//! that was filled with zeros before, so that an `fdatasync` makes it durable without a change to the file
//! system's own records. Frames are numbered and chained: each contains a part of the checksum of the
//! one before. So a gap, a frame from an earlier use of the file and a flipped bit are all detected.
//!
//! The journal stores bytes, in order. Their meaning, and the location of each stream's messages, are up
//! to the log.
//!
//! ```
//! use std::sync::Arc;
//!
//! use headwater_journal::{Disk, Options, OsDisk, open};
//!
//! let folder = tempfile::tempdir()?;
//! let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(folder.path())?);
//! let mut options = Options::default();
//! options.segment_bytes = 1 << 20;
//! let (mut journal, _) = open(&disk, 7, &options, None, |_| true)?;
//! journal.append(b"head", &[b"some ", b"data"])?;
//! journal.sync()?;
//! drop(journal);
//!
//! let mut frames = Vec::new();
//! let (journal, found) = open(&disk, 7, &options, None, |frame| {
//!     frames.push((frame.head.to_vec(), frame.data.to_vec()));
//!     true
//! })?;
//! assert_eq!(frames, [(b"head".to_vec(), b"some data".to_vec())]);
//! assert_eq!((journal.next(), found.frames), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Crashes
//!
//! After a loss of power, any part of what wasn't synced may be on the disk. If each frame is synced
//! before the next one is written, only the last frame can be torn, and [`open`] cuts it off. A frame that is
//! damaged before a valid one is an error that names the place: nothing is dropped silently. A
//! frame at the very end that was synced and then damaged can't be told from a torn one. The user of the
//! journal detects it if it records the number of the last synced frame elsewhere.
//!
//! # Failures of the disk
//!
//! A failed write or sync is never repeated on the same segment, because the kernel may have dropped the
//! data and report success the second time. See [`Journal`].
//!
//! # The index
//!
//! An [`Index`] is an ordered key-value store for what is derived from frames. It keeps changes in memory
//! and writes them into a table at a checkpoint. Changes since then are lost in a crash, and the
//! user of the journal applies them again while it opens the journal from that checkpoint. The list of
//! tables is the user's to store: a table counts once that list is durable.
//!
//! # Tests
//!
//! All I/O goes through the trait [`Disk`]. The tests run every operation on a disk that loses
//! unsynced sectors, fails any operation and loses power after any.

mod disk;
mod frame;
mod frames;
mod index;
mod journal;
mod new_file;
mod open;
mod segment;
mod spares;
mod table;

pub use disk::{Disk, DiskFile, OsDisk};
pub use frames::{Frames, ReadError, Window};
pub use index::{Index, Install, TableRef};
pub use journal::{Journal, Place, SEGMENT_BYTES, Segment, Tail, WriteError};
pub use new_file::NewFile;
pub use open::{Checkpoint, Found, Frame, OpenError, Options, open};
pub use segment::{segment_name, segment_number};
pub use spares::Spares;
pub use table::{
    BlockCache, Pair, Table, TableError, TablePairs, TableWriter, table_name, table_number,
};
