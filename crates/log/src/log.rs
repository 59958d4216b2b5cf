use std::future::Future;
use std::pin::Pin;

use crate::append::{Append, Outcome};
use crate::error::Error;
use crate::follow::{Follower, OrderFollower};
use crate::incarnation::Identity;
use crate::name::StreamName;
use crate::offset::Position;
use crate::producers::Known;
use crate::read::{Chunk, Created, Info, Matching, OrderChunk, Page, ReadFrom, Usage};
use crate::settings::Create;

/// What an engine's operation answers, later. It can be sent to another thread.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A durable log of many streams.
///
/// It knows streams, messages and producers, and nothing of HTTP. An engine may be a folder, a
/// piece of memory or a cluster: nothing here supposes one process or one lock.
///
/// The trait can be an object, so that whoever uses a log is not generic over it. What that costs
/// is one allocation an operation, which is little beside the sync of an append.
///
/// # What always holds
///
/// - A message that was acknowledged is there, once, with all its bytes, until the stream is
///   deleted, expires or is trimmed. What an engine's weaker settings give up is in their names.
/// - Offsets of a stream grow by one with each message and are never given twice. So do positions,
///   over all streams. Within a stream both orders agree.
/// - What a reader sees is acknowledged, or would be if the process ended now.
/// - A future that is dropped before it is ready leaves the operation either done or not, as if
///   the answer had been lost on its way. It is never half done.
/// - After an [`Error`] nothing of the operation is in the log, unless
///   [`is_outcome_unknown`](Error::is_outcome_unknown).
pub trait Log: Send + Sync + 'static {
    /// Creates a stream, with its first messages and closed if so wanted, in one step.
    ///
    /// Where one of that name is there, it stays as it is, and the answer is about that one.
    /// A fork without an expiry of its own gets its source's; one without a content type gets that.
    ///
    /// # Errors
    ///
    /// [`Gone`](Error::is_gone) where the name is kept by forks;
    /// [source not found](Error::is_source_not_found), [source gone](Error::is_source_gone),
    /// [bad fork point](Error::is_bad_fork_point), [trimmed](Error::is_trimmed) of a fork; limits;
    /// storage.
    fn create<'a>(&'a self, name: &'a StreamName, create: Create) -> Answer<'a, Created>;

    /// Appends all of `append` to a stream, or nothing, and answers when it is durable.
    ///
    /// Checked in this order: closed, the producer's epoch and sequence number, `seq`. A stream
    /// that is closed refuses all but three: an append that is in it already (a duplicate), an append of the producer, epoch
    /// and sequence number that closed it (a duplicate, whatever its messages), and closing without messages and without a
    /// producer (done already).
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), limits,
    /// [too many producers](Error::is_too_many_producers), storage.
    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome>;

    /// Reads messages of about `budget` bytes in all: at least one where there is one, and none
    /// that would go over it after the first. It doesn't wait for any to come, and doesn't count
    /// as [use](Self::touch).
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), [trimmed](Error::is_trimmed) with
    /// the floor, [beyond the tail](Error::is_beyond_tail), [damaged](Error::is_damaged).
    fn read<'a>(&'a self, name: &'a StreamName, from: ReadFrom, budget: usize)
    -> Answer<'a, Chunk>;

    /// Starts to follow a stream.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn follow<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Follower>;

    /// What is known of a stream. Doesn't count as use.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info>;

    /// What a stream knows of a producer: `None` where that has appended nothing to it, or was forgotten. What is
    /// acknowledged is in it. Doesn't count as use.
    ///
    /// A producer is known as long as the stream is there, but for one thing: where a stream remembers
    /// [as many as it may](crate::Limits::producers), those that have appended nothing for
    /// [`PRODUCER_IDLE`](crate::limits::PRODUCER_IDLE) can be forgotten.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn producer<'a>(&'a self, name: &'a StreamName, producer: &'a str)
    -> Answer<'a, Option<Known>>;

    /// Says that a stream is in use, which puts off the end of one that ends when idle. An append
    /// does so by itself; who reads for somebody calls this once for each request.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn touch<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()>;

    /// Deletes a stream. Its name is free at once, unless forks of it live: then it is hidden, and
    /// its name kept, until the last of them is gone.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone), storage.
    fn delete<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()>;

    /// Lists streams whose names start with `prefix`, after the name `after`, in the order of
    /// their names: at most `limit` of them, and no more than [`limits::PAGE`](crate::limits::PAGE).
    ///
    /// A page can be short, or empty, although more follow: [`Page::after`] says so.
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

    /// Reads from a position in the order of all streams, as [`read`](Self::read) does from one
    /// stream; only messages of streams that match, where `matching` is given. A message that
    /// doesn't match costs no more than its share of an index.
    ///
    /// What caps took away is [told](OrderChunk::trimmed), once for each stream, where its newest message was that is
    /// gone: whoever reads on from [`next`](OrderChunk::next), or from the position after any message or notice, has
    /// every message that is there and is told of every stream of which it missed some. Of streams that were deleted or
    /// have expired no message is left; that they [ended](OrderChunk::ended) is told where it happened, of so many as
    /// the log [keeps](crate::Limits::ended), and where ends were [forgotten](OrderChunk::forgotten), that is told.
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

    /// Follows the order of all streams: it wakes at every append to any of them, and when one ends.
    fn follow_order(&self) -> OrderFollower;

    /// The log's random number, of which the [incarnations](crate::Incarnation) of its streams are made. It stays the same
    /// as long as the log holds what it held.
    fn identity(&self) -> Identity;

    /// How much the log holds.
    fn usage(&self) -> Usage;

    /// Checks that the storage takes appends. It writes nothing to find out.
    ///
    /// # Errors
    ///
    /// [Full](Error::is_storage_full), [closed](Error::is_closed), storage.
    fn writable(&self) -> Result<(), Error>;

    /// What whoever runs the log should know and it can't mend itself, a sentence each: damage that was met, a clock that jumped.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes no more operations, finishes those that are under way, and lets go of the storage.
    /// Followers are told. Doing it again does nothing.
    ///
    /// # Errors
    ///
    /// Storage.
    fn close(&self) -> Answer<'_, ()>;
}
