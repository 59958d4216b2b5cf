//! The queue of requests to the writer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::format::commit::Commit;
use super::format::log_head::Checkpoint;
use super::format::settings::Fork;
use super::stream::Stream;
use crate::append::{Append, Outcome};
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::read::Created;
use crate::settings::Create;

/// Maximum time for which requests are gathered. A sync of a good disk takes a few times as long.
const GATHER: Duration = Duration::from_micros(60);

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
    Delete {
        stream: Arc<Stream>,
        reply: Reply<()>,
    },
    /// Records the use of a stream.
    Touch(Arc<Stream>),
    Tend(Tend, Reply<()>),
    Sweep(Sweep, Reply<()>),
}

/// The work that is due for one stream.
pub(crate) struct Tend {
    pub(crate) stream: Arc<Stream>,
    /// The records to trim, from its floor on.
    pub(crate) dropped: Vec<Dropped>,
    /// The commits that contained those records, without them.
    pub(crate) commits: Vec<Commit>,
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
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) position: u64,
}

/// Data to remove that belongs to no stream any more.
#[derive(Default)]
pub(crate) struct Sweep {
    pub(crate) records: Vec<Dropped>,
    pub(crate) commits: Vec<Commit>,
    /// Keys of `meta`.
    pub(crate) keys: Vec<Vec<u8>>,
    /// Keys of `order`.
    pub(crate) spent: Vec<[u8; 16]>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// If `true`, a key without meaning is written into every keyspace.
    pub(crate) touch: bool,
    /// Number of bytes with which the journal is filled up.
    pub(crate) filler: usize,
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
            Self::Sweep(sweep, _) => sweep.filler,
            _ => 0,
        }
    }

    pub(crate) fn fail(self, error: impl Fn() -> Error) {
        // The receiver may be gone. It doesn't need the response then.
        let _gone = match self {
            Self::Append { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Create { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Delete { reply, .. } | Self::Tend(_, reply) | Self::Sweep(_, reply) => {
                reply.send(Err(error())).is_err()
            }
            Self::Touch(_) => true,
        };
    }
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    bytes: usize,
    closed: bool,
    /// Number of requests for which the writer waits.
    wanted: usize,
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
        if waiting.bytes >= self.most && !urgent {
            return Ok(false);
        }
        if let Some(request) = request.take() {
            waiting.bytes += request.bytes();
            waiting.requests.push(request);
            if waiting.requests.len() == waiting.wanted.max(1) {
                self.arrived.notify_one();
            }
        }
        Ok(true)
    }

    /// Moves all waiting requests into `taken`, which must be empty. If there are none, it waits
    /// for one, for at most `patience`. Returns `false` if the queue is closed and empty.
    ///
    /// `expected` is the number of requests of the last commit. Their callers are about to send the
    /// next ones. A short wait for them saves a sync that would serve only the first of them.
    pub(crate) fn take(
        &self,
        taken: &mut Vec<Request>,
        expected: usize,
        patience: Duration,
    ) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.requests.is_empty() && !waiting.closed {
            self.arrived.wait_for(&mut waiting, patience);
        }
        if !waiting.requests.is_empty() && waiting.requests.len() < expected && !waiting.closed {
            waiting.wanted = expected;
            let few =
                |waiting: &mut Waiting| waiting.requests.len() < waiting.wanted && !waiting.closed;
            self.arrived.wait_while_for(&mut waiting, few, GATHER);
            waiting.wanted = 0;
        }
        std::mem::swap(&mut waiting.requests, taken);
        let was_full = waiting.bytes >= self.most;
        waiting.bytes = 0;
        let over = waiting.closed && taken.is_empty();
        drop(waiting);
        if was_full {
            self.room.notify_waiters();
        }
        !over
    }

    /// Refuses further requests. Waiting requests are still processed.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_waiters();
    }
}
