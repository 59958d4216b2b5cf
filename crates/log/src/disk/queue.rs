//! What waits for the writer.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::format::commit::Commit;
use super::format::head::Checkpoint;
use super::format::settings::Fork;
use super::stream::{Stream, lock};
use crate::append::{Append, Outcome};
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::read::Created;
use crate::settings::Create;

/// How long requests are gathered at the most. A sync of a good disk takes a few times as long.
const GATHER: Duration = Duration::from_micros(60);

/// Where an answer goes. `None` says that the stream is no more: look again whether there is
/// another of its name.
pub(crate) type Reply<T> = oneshot::Sender<Result<Option<T>, Error>>;

/// What became of an append.
pub(crate) enum Appended {
    /// It was judged, and done if it was to be.
    Judged(Outcome),
    /// The stream is no more: look again whether there is another of its name.
    Again(Append),
}

/// Something for the writer to do.
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
    /// Its use is to be written down.
    Touch(Arc<Stream>),
    Tend(Tend, Reply<()>),
    Sweep(Sweep, Reply<()>),
}

/// What is due for one stream.
pub(crate) struct Tend {
    pub(crate) stream: Arc<Stream>,
    /// The records to trim, from its floor on.
    pub(crate) dropped: Vec<Dropped>,
    /// The commits that those were in, without them.
    pub(crate) commits: Vec<Commit>,
    /// When its entry in the timetable was due, if that is why.
    pub(crate) due: Option<u64>,
    /// When the oldest record that stays was appended, if one does.
    pub(crate) oldest: Option<u64>,
    /// Its last use was in the future, and is now.
    pub(crate) is_corrected: bool,
}

/// A record that goes.
#[derive(Clone, Copy)]
pub(crate) struct Dropped {
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) position: u64,
}

/// Things to take away that no stream has any more.
#[derive(Default)]
pub(crate) struct Sweep {
    pub(crate) records: Vec<Dropped>,
    pub(crate) commits: Vec<Commit>,
    /// Keys of `meta`.
    pub(crate) keys: Vec<Vec<u8>>,
    /// Keys of `order`.
    pub(crate) spent: Vec<[u8; 16]>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Writes a key that means nothing into every keyspace.
    pub(crate) touch: bool,
    /// Number of bytes to fill the journal up with.
    pub(crate) filler: usize,
}

impl Request {
    /// About how much memory it takes while it waits.
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
        // Who asked may have gone; then nobody needs the answer.
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
    /// The writer waits until there are so many.
    wanted: usize,
}

/// The queue to the one writer. It is bounded in bytes.
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
            // Registered before looking, so that room made in between is not missed.
            room.as_mut().enable();
            if self.try_push(&mut request, false)? {
                return Ok(());
            }
            room.await;
        }
    }

    /// Adds a small request at once.
    pub(crate) fn push_now(&self, request: Request) -> Result<(), Error> {
        self.try_push(&mut Some(request), true).map(|_| ())
    }

    fn try_push(&self, request: &mut Option<Request>, urgent: bool) -> Result<bool, Error> {
        let mut waiting = lock(&self.waiting);
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

    /// Takes all that waits, into `taken`, which is empty. Waits for something, `patience` at the
    /// most. `false` when the queue is closed and empty.
    ///
    /// `expected` is how many there were last time. Those who were answered then are about to ask
    /// again: a moment's wait for them saves a sync that only the first would have.
    pub(crate) fn take(
        &self,
        taken: &mut Vec<Request>,
        expected: usize,
        patience: Duration,
    ) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.requests.is_empty() && !waiting.closed {
            waiting = self
                .arrived
                .wait_timeout(waiting, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if !waiting.requests.is_empty() && waiting.requests.len() < expected && !waiting.closed {
            waiting.wanted = expected;
            let few =
                |waiting: &mut Waiting| waiting.requests.len() < waiting.wanted && !waiting.closed;
            let wait = self.arrived.wait_timeout_while(waiting, GATHER, few);
            waiting = wait.unwrap_or_else(PoisonError::into_inner).0;
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

    /// Takes no more requests. Those that wait are still done.
    pub(crate) fn close(&self) {
        lock(&self.waiting).closed = true;
        self.arrived.notify_all();
        self.room.notify_waiters();
    }
}
