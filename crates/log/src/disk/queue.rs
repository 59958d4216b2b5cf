//! The queue of requests to the writer.
//!
//! A large append takes many times as long to write as a small one, so small requests don't wait for
//! large ones: each has a commit of its own, and large appends aren't queued at all while the work
//! on files falls behind. Requests for one stream keep their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::stream::Stream;
use crate::append::{Append, Outcome};
use crate::encoding::birth::Fork;
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::read::Created;
use crate::restore::{Restore, Restored};
use crate::settings::Create;

/// Maximum time for which requests are gathered. A sync of a good disk takes a few times as long.
const GATHER: Duration = Duration::from_micros(60);
/// Size from which a request is large, in bytes.
const LARGE: usize = 256 << 10;
/// Bytes of large requests after which no more of them are written at once.
const LARGE_AT_ONCE: usize = 4 << 20;

/// The sender of a response. `None` reports that the stream has ended: the caller looks for another
/// one of its name.
pub(crate) type Reply<T> = oneshot::Sender<Result<Option<T>, Error>>;

/// The outcome of a request to append.
pub(crate) enum Appended {
    /// The append was judged, and written if it was accepted.
    Judged(Outcome),
    /// The stream has ended. The caller looks for another one of its name.
    Again(Append),
}

/// A request to the writer.
pub(crate) enum Request {
    Append {
        stream: Arc<Stream>,
        append: Append,
        reply: oneshot::Sender<Result<Appended, Error>>,
    },
    Create {
        name: StreamName,
        create: Box<Create>,
        fork: Option<(Fork, Arc<Stream>)>,
        reply: Reply<Created>,
    },
    /// A step of restoring a stream.
    Restore {
        name: StreamName,
        restore: Restore,
        reply: Reply<Restored>,
    },
    Delete {
        stream: Arc<Stream>,
        reply: Reply<()>,
    },
    /// Records the use of a stream.
    Touch(Arc<Stream>),
    Tend(Tend, Reply<()>),
    /// Removes keys of the index that belong to no stream any more.
    Sweep(Vec<Vec<u8>>, Reply<()>),
    /// Freezes the changes of the index, to be written out, and ends the current segment of the
    /// journal if `rotates`.
    Checkpoint {
        rotates: bool,
        reply: Reply<()>,
    },
}

/// The work that is due for one stream.
pub(crate) struct Tend {
    pub(crate) stream: Arc<Stream>,
    /// The records to trim, from its floor on.
    pub(crate) dropped: Vec<Dropped>,
    /// The due time of its entry in the timetable, if that is the reason.
    pub(crate) due: Option<u64>,
    /// The append time of the oldest record that stays, if one does.
    pub(crate) oldest: Option<u64>,
    /// `true` if its last use was in the future and was set to now.
    pub(crate) is_corrected: bool,
}

/// A record to remove.
#[derive(Clone, Copy)]
pub(crate) struct Dropped {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) position: u64,
}

impl Request {
    /// Returns about how much memory the request takes while it waits.
    fn bytes(&self) -> usize {
        512 + match self {
            Self::Append { append, .. } => append.bytes() + 64 * append.messages.len(),
            Self::Create { create, .. } => create
                .messages
                .iter()
                .map(|message| message.len() + 64)
                .sum(),
            Self::Restore { restore, .. } => restore.bytes(),
            _ => 0,
        }
    }

    /// Returns the id of the stream that the request is about, if it exists.
    fn stream(&self) -> Option<u64> {
        match self {
            Self::Append { stream, .. } | Self::Delete { stream, .. } | Self::Touch(stream) => {
                Some(stream.id)
            }
            Self::Tend(tend, _) => Some(tend.stream.id),
            Self::Create { .. }
            | Self::Restore { .. }
            | Self::Sweep(..)
            | Self::Checkpoint { .. } => None,
        }
    }

    pub(crate) fn fail(self, error: impl Fn() -> Error) {
        // The receiver may be gone. It doesn't need the response then.
        let _gone = match self {
            Self::Append { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Create { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Restore { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Delete { reply, .. }
            | Self::Tend(_, reply)
            | Self::Sweep(_, reply)
            | Self::Checkpoint { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Touch(_) => true,
        };
    }
}

#[derive(Default)]
struct Waiting {
    small: Vec<Request>,
    /// Large requests, and small ones for the stream of a large one that waits.
    large: VecDeque<Request>,
    bytes: usize,
    closed: bool,
    /// `true` while large requests must wait outside the queue.
    behind: bool,
    /// Number of small requests for which the writer waits.
    wanted: usize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// Adds a request. Returns `true` if the writer waits for no more.
    fn add(&mut self, request: Request) -> bool {
        let bytes = request.bytes();
        self.bytes += bytes;
        let follows_large = || {
            let stream = request.stream();
            stream.is_some() && self.large.iter().any(|other| other.stream() == stream)
        };
        if bytes >= LARGE || follows_large() {
            self.large.push_back(request);
            return true;
        }
        self.small.push(request);
        self.small.len() == self.wanted.max(1)
    }
}

/// The requests that the writer has taken.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) small: VecDeque<Request>,
    /// To be written after the small ones.
    pub(crate) large: VecDeque<Request>,
}

/// The queue to the writer thread. It is bounded in bytes.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Notify,
    most: usize,
}

impl Queue {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            room: Notify::new(),
            most,
        }
    }

    /// Adds a request as soon as there is room for it.
    pub(crate) async fn push(&self, request: Request) -> Result<(), Error> {
        let mut request = Some(request);
        if self.try_push(&mut request, false)? {
            return Ok(());
        }
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the check, so that room that is freed in between isn't missed.
            room.as_mut().enable();
            if self.try_push(&mut request, false)? {
                return Ok(());
            }
            room.await;
        }
    }

    /// Adds a small request at once, even if the queue is full.
    pub(crate) fn push_now(&self, request: Request) -> Result<(), Error> {
        self.try_push(&mut Some(request), true).map(|_| ())
    }

    fn try_push(&self, request: &mut Option<Request>, urgent: bool) -> Result<bool, Error> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Kind::Closed.into());
        }
        let is_large = |request: &Request| request.bytes() >= LARGE;
        let waits =
            waiting.bytes >= self.most || waiting.behind && request.as_ref().is_some_and(is_large);
        if waits && !urgent {
            return Ok(false);
        }
        if let Some(request) = request.take()
            && waiting.add(request)
        {
            self.arrived.notify_one();
        }
        Ok(true)
    }

    /// Moves all small requests into `taken`, which must be empty, and some of the large ones. If
    /// there are none, it waits for one, for at most `patience`. Returns `false` if the queue is
    /// closed and empty.
    ///
    /// `expected` is the number of small requests that were taken last. Their callers are about to
    /// send the next ones. A short wait for them saves a sync that would serve only the first of
    /// them.
    pub(crate) fn take(&self, taken: &mut Taken, expected: usize, patience: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() && !waiting.closed {
            self.arrived.wait_for(&mut waiting, patience);
        }
        let few = |waiting: &mut Waiting| {
            waiting.small.len() < waiting.wanted && waiting.large.is_empty() && !waiting.closed
        };
        waiting.wanted = expected;
        if !waiting.is_empty() && few(&mut waiting) {
            self.arrived.wait_while_for(&mut waiting, few, GATHER);
        }
        waiting.wanted = 0;
        let was_full = waiting.bytes >= self.most;
        let mut bytes = 0;
        while bytes < LARGE_AT_ONCE
            && let Some(request) = waiting.large.pop_front()
        {
            bytes += request.bytes();
            taken.large.push_back(request);
        }
        taken.small = std::mem::take(&mut waiting.small).into();
        waiting.bytes = waiting.large.iter().map(Request::bytes).sum();
        let has_room = waiting.bytes < self.most;
        let over = waiting.closed && taken.small.is_empty() && taken.large.is_empty();
        drop(waiting);
        if was_full && has_room {
            self.room.notify_waiters();
        }
        !over
    }

    /// Sets if large requests must wait outside the queue.
    pub(crate) fn set_behind(&self, behind: bool) {
        let was_behind = std::mem::replace(&mut self.waiting.lock().behind, behind);
        if was_behind && !behind {
            self.room.notify_waiters();
        }
    }

    /// Refuses further requests. Waiting requests are still processed.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::disk::{DiskLog, DiskOptions};
    use crate::{Log, Settings};

    /// Two streams.
    struct Streams(Vec<Arc<Stream>>);

    impl Streams {
        async fn create(folder: &std::path::Path) -> Self {
            let log = DiskLog::open(folder, DiskOptions::default()).unwrap();
            let store = log.engine.store().unwrap();
            let mut streams = Vec::new();
            for name in ["a", "b"] {
                let name = StreamName::new(name).unwrap();
                let create = Create::new(Settings::of_type("text/plain"));
                log.create(&name, create).await.unwrap();
                streams.extend(log.engine.cache.load(&store, &name).unwrap());
            }
            Self(streams)
        }

        fn append(&self, stream: usize, bytes: usize) -> Request {
            Request::Append {
                stream: Arc::clone(&self.0[stream]),
                append: Append::new(vec![Bytes::from(vec![b'x'; bytes])]),
                reply: oneshot::channel().0,
            }
        }
    }

    /// Starts to add a request that has to wait for room.
    async fn push_waiting(
        queue: &Arc<Queue>,
        request: Request,
    ) -> tokio::task::JoinHandle<Result<(), Error>> {
        let queue = Arc::clone(queue);
        let waiting = tokio::spawn(async move { queue.push(request).await });
        tokio::task::yield_now().await;
        waiting
    }

    /// Takes what is waiting: the stream and the size of each small and of each large request.
    fn take(queue: &Queue) -> [Vec<(u64, usize)>; 2] {
        let mut taken = Taken::default();
        queue.take(&mut taken, 0, Duration::ZERO);
        [taken.small, taken.large].map(|requests| {
            let about = |request: &Request| (request.stream().unwrap(), request.bytes() - 576);
            requests.iter().map(about).collect()
        })
    }

    #[tokio::test]
    async fn small_requests_overtake_large_ones_of_other_streams_only() {
        let folder = tempfile::tempdir().unwrap();
        let streams = Streams::create(folder.path()).await;
        let [a, b] = [0, 1].map(|stream| streams.0[stream].id);
        let queue = Queue::new(64 << 20);
        for (stream, bytes) in [(0, 1), (0, LARGE), (0, 2), (1, 3), (0, LARGE), (1, 4)] {
            queue.push(streams.append(stream, bytes)).await.unwrap();
        }
        let [small, large] = take(&queue);
        assert_eq!(small, [(a, 1), (b, 3), (b, 4)]);
        assert_eq!(large, [(a, LARGE), (a, 2), (a, LARGE)]);
        assert_eq!(take(&queue), [[], []]);
        queue.push(streams.append(0, 5)).await.unwrap();
        assert_eq!(take(&queue), [vec![(a, 5)], vec![]]);
    }

    #[tokio::test]
    async fn large_requests_are_taken_some_at_a_time_and_count_until_then() {
        let folder = tempfile::tempdir().unwrap();
        let streams = Streams::create(folder.path()).await;
        let size = LARGE_AT_ONCE - 576;
        let queue = Queue::new(2 * LARGE_AT_ONCE + 1);
        for _ in 0..3 {
            queue.push(streams.append(0, size)).await.unwrap();
        }
        let mut next = Some(streams.append(1, 1));
        assert!(!queue.try_push(&mut next, false).unwrap(), "it is full");
        assert_eq!(take(&queue)[1].len(), 1);
        assert!(queue.try_push(&mut next, false).unwrap(), "it has room");
        let [small, large] = take(&queue);
        assert_eq!((small.len(), large.len()), (1, 1));
        assert_eq!(take(&queue)[1].len(), 1);
        assert_eq!(take(&queue), [[], []]);
    }

    #[tokio::test]
    async fn large_requests_wait_outside_while_the_database_is_behind() {
        let folder = tempfile::tempdir().unwrap();
        let streams = Streams::create(folder.path()).await;
        let queue = Arc::new(Queue::new(64 << 20));
        queue.set_behind(true);
        let waiting = push_waiting(&queue, streams.append(0, LARGE)).await;
        queue.push(streams.append(0, 1)).await.unwrap();
        assert_eq!(take(&queue).map(|requests| requests.len()), [1, 0]);
        assert!(!waiting.is_finished());
        queue.set_behind(false);
        waiting.await.unwrap().unwrap();
        assert_eq!(take(&queue).map(|requests| requests.len()), [0, 1]);
    }

    #[tokio::test]
    async fn closing_the_queue_fails_the_requests_that_wait_for_room() {
        let folder = tempfile::tempdir().unwrap();
        let streams = Streams::create(folder.path()).await;
        let queue = Arc::new(Queue::new(64 << 20));
        queue.set_behind(true);
        let waiting = push_waiting(&queue, streams.append(0, LARGE)).await;
        queue.close();
        assert!(waiting.await.unwrap().unwrap_err().is_closed());
    }
}
