//! Publication of a commit, and the responses to its requests.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use crate::append::{Append, Outcome};
use crate::disk::engine::Engine;
use crate::disk::format::log_head::Head;
use crate::disk::format::record::Record;
use crate::disk::queue::{Appended, Reply};
use crate::disk::stream::{Recent, Stream};
use crate::error::Error;
use crate::offset::Position;
use crate::read::{Created, Info};
use crate::restore::Restored;

use super::Change;

/// A response that waits for the commit.
pub(super) enum Answer {
    /// `end` is the index of its stream's change, and the number of that stream's messages in this
    /// commit up to and with this append. `None` if the append has no messages.
    Append {
        reply: oneshot::Sender<Result<Appended, Error>>,
        outcome: Outcome,
        end: Option<(usize, u64)>,
    },
    Created {
        reply: Reply<Created>,
        change: usize,
        is_new: bool,
    },
    Exists {
        reply: Reply<Created>,
        stream: Arc<Stream>,
    },
    Restored {
        reply: Reply<Restored>,
        restored: Restored,
    },
    /// A response without data. If `again`, the stream had ended.
    Done {
        reply: Reply<()>,
        again: bool,
    },
    AppendAgain(oneshot::Sender<Result<Appended, Error>>, Append),
    Failed(Failed, Error),
}

pub(super) enum Failed {
    Append(oneshot::Sender<Result<Appended, Error>>),
    Create(Reply<Created>),
    Restore(Reply<Restored>),
    Other(Reply<()>),
}

/// A sealed draft with the responses to send.
pub(crate) struct Sealed {
    pub(crate) head: Head,
    pub(super) changes: Vec<Change>,
    pub(super) answers: Vec<Answer>,
    /// For each change, the number of the commit's positions before its messages.
    pub(super) before: Vec<u64>,
    /// The records of the commit's parts, each with the index of its stream's change.
    pub(crate) records: Vec<(usize, Record)>,
}

impl Sealed {
    /// Publishes what was committed, and sends the responses. Returns where each record is kept in
    /// memory, and the memory that it takes.
    pub(crate) fn publish(self, engine: &Engine) -> Vec<(Weak<Recent>, usize)> {
        let mut kept = Vec::with_capacity(self.records.len());
        for (at, record) in self.records {
            let recent = self.changes[at].stream.recent();
            let memory = recent.keep(record);
            kept.push((Arc::downgrade(recent), memory));
        }
        let mut published = Vec::with_capacity(self.changes.len());
        let mut too_large = Vec::new();
        for change in self.changes {
            let mut stream = change.stream;
            if change.changed {
                for id in &change.forgotten {
                    stream.forget_producer(id);
                }
                for (id, state) in change.producers {
                    stream.remember_producer(id, state);
                }
                let most = stream.birth.settings.max_bytes;
                let over = most.is_some_and(|most| change.state.bytes > most)
                    && !change.state.hidden
                    && !change.ended;
                stream.publish(change.state, change.ended);
                if change.ended {
                    engine.count_removed(stream.state().bytes);
                    engine.cache.remove(&stream);
                } else if change.created {
                    stream = engine.cache.add(stream);
                }
                if over {
                    too_large.push(Arc::clone(&stream));
                }
            }
            published.push(stream);
        }
        let start = engine.committed().position;
        engine.publish(self.head);
        // A created stream is described as it was committed, even if it is trimmed in the next
        // moment.
        let infos: Vec<_> = self
            .answers
            .iter()
            .map(|answer| answer.about(&published).map(Stream::info))
            .collect();
        // After publication, because trimming reads the published state.
        for stream in too_large {
            engine.over(&stream);
        }
        for (answer, info) in self.answers.into_iter().zip(infos) {
            answer.send(info, start, &self.before, self.head.position);
        }
        kept
    }

    /// Responds to all requests that the commit failed.
    pub(crate) fn fail(self, error: impl Fn() -> Error) {
        for answer in self.answers {
            answer.fail(&error);
        }
    }
}

impl Answer {
    /// Returns the stream that the response describes.
    fn about<'a>(&'a self, streams: &'a [Arc<Stream>]) -> Option<&'a Stream> {
        match self {
            Self::Created { change, .. } => Some(&streams[*change]),
            Self::Exists { stream, .. } => Some(stream),
            _ => None,
        }
    }

    fn send(self, info: Option<Info>, start: u64, before: &[u64], head: u64) {
        let created = |is_new| Ok(info.map(|info| Created { info, is_new }));
        // The receiver may be gone. It doesn't need the response then.
        let _gone = match self {
            Self::Append {
                reply,
                mut outcome,
                end,
            } => {
                let at = end.map_or(head, |(change, end)| start + before[change] + end);
                if let Outcome::Appended(receipt) | Outcome::Duplicate(receipt) = &mut outcome {
                    receipt.position = Position::new(at);
                }
                reply.send(Ok(Appended::Judged(outcome))).is_err()
            }
            Self::Created { reply, is_new, .. } => reply.send(created(is_new)).is_err(),
            Self::Exists { reply, .. } => reply.send(created(false)).is_err(),
            Self::Restored { reply, restored } => reply.send(Ok(Some(restored))).is_err(),
            Self::Done { reply, again } => reply.send(Ok((!again).then_some(()))).is_err(),
            Self::AppendAgain(reply, append) => reply.send(Ok(Appended::Again(append))).is_err(),
            Self::Failed(failed, error) => failed.send(error),
        };
    }

    fn fail(self, error: &impl Fn() -> Error) {
        let _gone = match self {
            Self::Append { reply, .. } | Self::AppendAgain(reply, _) => {
                reply.send(Err(error())).is_err()
            }
            Self::Created { reply, .. } | Self::Exists { reply, .. } => {
                reply.send(Err(error())).is_err()
            }
            Self::Restored { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Done { reply, .. } => reply.send(Err(error())).is_err(),
            Self::Failed(failed, error) => failed.send(error),
        };
    }
}

impl Failed {
    fn send(self, error: Error) -> bool {
        match self {
            Self::Append(reply) => reply.send(Err(error)).is_err(),
            Self::Create(reply) => reply.send(Err(error)).is_err(),
            Self::Restore(reply) => reply.send(Err(error)).is_err(),
            Self::Other(reply) => reply.send(Err(error)).is_err(),
        }
    }
}
