use std::future::Future;
use std::pin::Pin;

use crate::append::{Append, Outcome};
use crate::error::Error;
use crate::follow::{Follower, OrderFollower};
use crate::incarnation::Identity;
use crate::name::StreamName;
use crate::offset::Position;
use crate::producers::Known;
use crate::read::{Chunk, Created, Extent, Info, Matching, OrderChunk, Page, ReadFrom, Usage};
use crate::restore::{Image, ProducerImage, Restore, Restored};
use crate::settings::Create;

/// The future that an engine's operation returns. It is `Send`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A durable log of many streams.
///
/// A log stores streams, messages and producers, and knows nothing of HTTP. An engine can be a
/// folder, memory or a cluster: nothing here assumes one process or one lock.
///
/// The trait is dyn-compatible, so that users of a log need no generic parameter. The cost is one
/// allocation per operation, which is small compared with the sync of an append.
///
/// # Guarantees
///
/// - An acknowledged message is stored exactly once, with all its bytes, until the stream is
///   deleted, expires or is trimmed. Engine settings that weaken this are named for what they rely
///   on.
/// - Offsets of a stream grow by one with each message and are never reused. So do positions, over
///   all streams. Within a stream both orders agree.
/// - A message that a reader sees is acknowledged, or would be if the process ended now.
/// - Dropping a future before it is ready leaves the operation either done or not done, as if the
///   response had been lost. It is never half done.
/// - A stream that is being [restored](Self::restore) can only be restored further, or deleted. All else fails for it as
///   [restoring](Error::is_restoring), and no listing or order has it.
/// - After an [`Error`] nothing of the operation is in the log, unless
///   [`is_outcome_unknown`](Error::is_outcome_unknown).
pub trait Log: Send + Sync + 'static {
    /// Creates a stream in one step, with its first messages, and closed if [`Create::closed`] is
    /// set.
    ///
    /// If a stream of that name exists, it is unchanged and the result describes it. A fork without
    /// an expiry of its own inherits its source's, and a fork without a content type inherits that
    /// too.
    ///
    /// # Errors
    ///
    /// [`Gone`](Error::is_gone) if forks keep the name;
    /// [source not found](Error::is_source_not_found), [source gone](Error::is_source_gone),
    /// [bad fork point](Error::is_bad_fork_point) or [trimmed](Error::is_trimmed) for a fork;
    /// limits; storage.
    fn create<'a>(&'a self, name: &'a StreamName, create: Create) -> Answer<'a, Created>;

    /// Appends all messages of `append` to a stream or none, and returns once they are durable.
    ///
    /// Appends of one producer to one stream that are in progress together are checked in the order in which
    /// their futures were first polled. After a failure of the disk or of the cluster, a later one can be
    /// checked first, and is refused as early.
    ///
    /// The checks run in this order: closed, the producer's epoch and sequence number, `seq`. A
    /// closed stream refuses all appends but three:
    ///
    /// - a repetition of an append that is in the stream, which is a duplicate;
    /// - an append with the producer, epoch and sequence number that closed the stream, which is a
    ///   duplicate whatever its messages;
    /// - a close without messages and without a producer, which succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), limits,
    /// [too many producers](Error::is_too_many_producers), storage.
    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome>;

    /// Reads messages of about `budget` bytes in total: at least one if there is one. After the
    /// first message, a message that would exceed the budget is left for the next read, and so is
    /// damage. It doesn't wait for messages, and doesn't count as [use](Self::touch).
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), [trimmed](Error::is_trimmed) with
    /// the first readable offset, [beyond the tail](Error::is_beyond_tail),
    /// [damaged](Error::is_damaged).
    fn read<'a>(&'a self, name: &'a StreamName, from: ReadFrom, budget: usize)
    -> Answer<'a, Chunk>;

    /// Returns the extent of the messages from `from` on that have at most `budget` bytes in total. It can
    /// be empty. It comes from the index: messages are read only where the extent has a part of what is
    /// stored together.
    ///
    /// It ends before damage that a read has met, as far as the log remembers that. So it is empty at such
    /// damage, where [`read`](Self::read) returns the error.
    ///
    /// # Errors
    ///
    /// The same as of [`read`](Self::read), except for damaged messages.
    fn measure<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Answer<'a, Extent>;

    /// Starts to follow a stream.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn follow<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Follower>;

    /// Returns a description of a stream. Doesn't count as use.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info>;

    /// Returns a description of a stream that may be out of date, without waiting. `None` if there is none at hand: then
    /// use [`info`](Self::info).
    ///
    /// An append with [`Append::stream`] goes to this stream, or fails. The type, the schema and the number of a stream
    /// never change.
    fn known(&self, name: &StreamName) -> Option<Info> {
        let _ = name;
        None
    }

    /// Returns a stream's state of a producer, or `None` if the producer has appended nothing to it
    /// or was forgotten. The state includes every acknowledged append. Doesn't count as use.
    ///
    /// A producer is remembered as long as the stream exists, with one exception: if a stream
    /// remembers [as many as it may](crate::Limits::producers), producers without an append for
    /// [`PRODUCER_IDLE`](crate::limits::PRODUCER_IDLE) can be forgotten.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn producer<'a>(&'a self, name: &'a StreamName, producer: &'a str)
    -> Answer<'a, Option<Known>>;

    /// Returns a stream without its messages, and its producers, all of one moment: the messages up to the
    /// image's tail are those that the producers' states include. It holds the states of all producers of
    /// the stream in memory. Doesn't count as use.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn image<'a>(&'a self, name: &'a StreamName) -> Answer<'a, (Image, Vec<ProducerImage>)>;

    /// Performs a step of restoring a stream that was in another log. See [`Restore`].
    ///
    /// The messages take positions in the order of all streams when they are added, and can be read there
    /// once the stream is complete. A reader of the order that has passed them by then doesn't get them.
    ///
    /// # Errors
    ///
    /// [Taken](Error::is_taken) if a complete stream of that name doesn't have the messages of the image, or
    /// if a step after the first finds a complete one; [not found](Error::is_not_found) for a step after the first;
    /// [gone](Error::is_gone); [invalid](Error::is_invalid) if messages are missing at the end;
    /// limits; storage.
    fn restore<'a>(&'a self, name: &'a StreamName, restore: Restore) -> Answer<'a, Restored>;

    /// Marks a stream as in use, which postpones its expiry if it
    /// [ends when idle](crate::Expiry::Idle). An append does this by itself. Call it once per
    /// request when reading for a client.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn touch<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()>;

    /// Deletes a stream. Its name is free at once, unless the stream has forks: then it is hidden,
    /// and its name stays taken until the last fork is gone.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn delete<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()>;

    /// Lists streams in the order of their names: those that start with `prefix` and come after the
    /// name `after`. Returns at most `limit` streams, and at most
    /// [`limits::PAGE`](crate::limits::PAGE).
    ///
    /// A page can be short or empty although more streams follow. [`Page::after`] is set then.
    ///
    /// # Errors
    ///
    /// Storage.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<StreamName>,
        limit: usize,
    ) -> Answer<'a, Page>;

    /// Reads from a position in the order of all streams, as [`read`](Self::read) reads from one
    /// stream. If `matching` is given, only messages of streams that match are returned. A message
    /// that doesn't match costs only its share of an index.
    ///
    /// Messages that the caps removed are reported in [`trimmed`](OrderChunk::trimmed): once for
    /// each stream, at the position of the newest removed message. A reader that continues from
    /// [`next`](OrderChunk::next), or from the position after any message or notice, receives every
    /// message that is still stored, and a notice for every stream of which it missed some.
    ///
    /// Damaged messages are reported there too, with [`damaged_from`](crate::Trimmed::damaged_from), and the
    /// read continues after them. Damage that hides other data than messages is an error.
    ///
    /// Streams that were deleted or have expired have no messages left. Their
    /// [end](OrderChunk::ended) is reported at its position, as long as the log
    /// [keeps](crate::Limits::ended) it. If ends were dropped, their newest position is in
    /// [`forgotten`](OrderChunk::forgotten).
    ///
    /// # Errors
    ///
    /// [Beyond the tail](Error::is_beyond_tail), [damaged](Error::is_damaged), storage.
    fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<Matching>,
    ) -> Answer<'_, OrderChunk>;

    /// Follows the order of all streams. The follower wakes at every append to any stream, and when
    /// a stream ends.
    fn follow_order(&self) -> OrderFollower;

    /// Returns the log's random number, from which the [incarnations](crate::Incarnation) of its
    /// streams are derived. It stays the same as long as the log keeps its data.
    fn identity(&self) -> Identity;

    /// Returns the number of streams, the bytes and the end of the order.
    fn usage(&self) -> Usage;

    /// Checks that the storage accepts appends. The check writes nothing.
    ///
    /// # Errors
    ///
    /// [Full](Error::is_storage_full), [closed](Error::is_closed), storage.
    fn writable(&self) -> Result<(), Error>;

    /// Returns the conditions that an operator should know and that the log can't repair by itself,
    /// one sentence each: damage that was found while reading, a clock that jumped.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Refuses further operations, finishes those in progress, and releases the storage. Followers
    /// are notified. A second call does nothing.
    ///
    /// # Errors
    ///
    /// Storage.
    fn close(&self) -> Answer<'_, ()>;
}
