//! A commit in preparation. Requests are judged against the committed state and the draft's own
//! changes, and change only the draft. If the commit fails, nothing has happened.

mod answer;
mod append;
mod create;
mod ended;
mod restore;
mod seal;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::append_rules::State;
use crate::clock::Timestamp;
use crate::disk::engine::Engine;
use crate::disk::format::ended::Ends;
use crate::disk::format::log_head::Head;
use crate::disk::queue::{Reply, Request, Tend};
use crate::disk::store::Store;
use crate::disk::stream::Stream;
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::producers::ProducerState;
use crate::read::EndCause;

pub(crate) use answer::Sealed;
use answer::{Answer, Failed};
pub(crate) use seal::Written;

/// The changes of a draft to one stream.
struct Change {
    stream: Arc<Stream>,
    state: State,
    /// `true` if the state differs from the committed one.
    changed: bool,
    created: bool,
    /// The cause of its end in this draft, after which it can't be used; or [`EndCause::Restored`].
    end: Option<EndCause>,
    /// `true` if the stream is removed for good.
    ended: bool,
    messages: Vec<Bytes>,
    /// The times of the messages, if they are restored from another log.
    times: Vec<u64>,
    producers: HashMap<String, ProducerState>,
    forgotten: HashSet<String>,
    used: bool,
    /// `true` if it is restored completely in this draft.
    restored: bool,
}

impl Change {
    /// Starts the changes to a stream with this state.
    fn new(stream: Arc<Stream>, state: State) -> Self {
        Self {
            state,
            changed: false,
            created: false,
            end: None,
            ended: stream.has_ended(),
            messages: Vec::new(),
            times: Vec::new(),
            producers: HashMap::new(),
            forgotten: HashSet::new(),
            used: false,
            restored: false,
            stream,
        }
    }
}

pub(crate) struct Draft<'a> {
    engine: &'a Engine,
    store: &'a Store,
    /// `true` if the disk is full: nothing may make the log grow.
    full: bool,
    head: Head,
    changes: Vec<Change>,
    by_id: HashMap<u64, usize>,
    /// Names that this draft assigns or frees.
    names: HashMap<StreamName, Option<usize>>,
    answers: Vec<Answer>,
    checkpoint: Option<Checkpoint>,
    /// Keys of the index to remove.
    swept: Vec<Vec<u8>>,
    /// Entries of the timetable: time, id, and `true` to add or `false` to remove.
    due: Vec<(u64, u64, bool)>,
    /// The number of ends on the disk, loaded when it is first needed.
    ends: Option<Ends>,
    bytes: usize,
}

/// A request to freeze the changes of the index after a commit. It can fail although the commit succeeds,
/// so its responses are separate.
#[derive(Default)]
pub(crate) struct Checkpoint {
    /// The journal's segment also ends.
    pub(crate) rotates: bool,
    replies: Vec<Reply<()>>,
}

impl Checkpoint {
    /// Responds to the requests.
    pub(crate) fn reply(self, result: impl Fn() -> Result<(), Error>) {
        for reply in self.replies {
            // The receiver may be gone. It doesn't need the response then.
            let _gone = reply.send(result().map(Some));
        }
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(engine: &'a Engine, store: &'a Store, full: bool) -> Self {
        let mut head = engine.committed();
        head.commit += 1;
        head.time = engine.time.now(head.time);
        Self {
            engine,
            store,
            full,
            head,
            changes: Vec::new(),
            by_id: HashMap::new(),
            names: HashMap::new(),
            answers: Vec::new(),
            checkpoint: None,
            swept: Vec::new(),
            due: Vec::new(),
            ends: None,
            bytes: 0,
        }
    }

    /// Returns the bytes of messages so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the checkpoint that follows this draft, if one was requested.
    pub(crate) fn take_checkpoint(&mut self) -> Option<Checkpoint> {
        self.checkpoint.take()
    }

    /// Applies a request to the draft.
    pub(crate) fn take(&mut self, request: Request) {
        match request {
            Request::Append {
                stream,
                append,
                reply,
            } => self.append(&stream, append, reply),
            Request::Create {
                name,
                create,
                fork,
                reply,
            } => match self.create(&name, *create, fork) {
                Ok(answer) => self.answers.push(answer(reply)),
                Err(error) => self
                    .answers
                    .push(Answer::Failed(Failed::Create(reply), error)),
            },
            Request::Restore {
                name,
                restore,
                reply,
            } => match self.restore(&name, restore) {
                Ok(restored) => self.answers.push(Answer::Restored { reply, restored }),
                Err(error) => self
                    .answers
                    .push(Answer::Failed(Failed::Restore(reply), error)),
            },
            Request::Delete { stream, reply } => {
                let change = self.change(&stream);
                let usable = match self.usable(change) {
                    Err(error) if error.is_restoring() => Ok(true),
                    usable => usable,
                };
                let answer = match usable {
                    Ok(true) => self.end(change, EndCause::Deleted).map(|()| false),
                    Ok(false) => Ok(true),
                    Err(error) => Err(error),
                };
                self.answers.push(match answer {
                    Ok(again) => Answer::Done { reply, again },
                    Err(error) => Answer::Failed(Failed::Other(reply), error),
                });
            }
            Request::Touch(stream) => {
                let change = self.change(&stream);
                if matches!(self.usable(change), Ok(true)) {
                    self.changes[change].state.expires = stream.expires_on_disk();
                    self.changes[change].changed = true;
                }
            }
            Request::Tend(tend, reply) => {
                let answer = match self.tend(tend) {
                    Ok(()) => Answer::Done {
                        reply,
                        again: false,
                    },
                    Err(error) => Answer::Failed(Failed::Other(reply), error),
                };
                self.answers.push(answer);
            }
            Request::Checkpoint { rotates, reply } => {
                let checkpoint = self.checkpoint.get_or_insert_default();
                checkpoint.rotates |= rotates;
                checkpoint.replies.push(reply);
            }
            Request::Sweep(keys, reply) => {
                self.swept.extend(keys);
                self.answers.push(Answer::Done {
                    reply,
                    again: false,
                });
            }
        }
    }

    fn change(&mut self, stream: &Arc<Stream>) -> usize {
        *self.by_id.entry(stream.id).or_insert_with(|| {
            let change = Change::new(Arc::clone(stream), stream.state());
            self.changes.push(change);
            self.changes.len() - 1
        })
    }

    /// Returns `true` if a stream can be used, or `false` if another stream may have its name by
    /// now. An expired stream is ended by this.
    fn usable(&mut self, change: usize) -> Result<bool, Error> {
        let Change {
            stream,
            state,
            ended,
            created,
            ..
        } = &self.changes[change];
        if *ended {
            return Ok(false);
        }
        if state.restoring {
            return Err(Kind::Restoring.into());
        }
        if state.hidden {
            return Err(Kind::Gone.into());
        }
        if stream.has_expired(self.head.time) && !*created {
            self.end(change, EndCause::Expired)?;
            return if self.changes[change].ended {
                Ok(false)
            } else {
                Err(Kind::Gone.into())
            };
        }
        Ok(true)
    }

    /// Adds the end of a stream, or its completion, to the order of all streams.
    fn note_end(&mut self, at: usize, cause: EndCause) -> Result<(), Error> {
        if self.ends.is_none() {
            self.ends = Some(self.store.ends()?);
        }
        self.changes[at].end = Some(cause);
        Ok(())
    }

    /// Ends a stream that is in use: hides it if it has forks, and removes it otherwise. Removing
    /// the last fork of a hidden source removes the source too.
    fn end(&mut self, at: usize, cause: EndCause) -> Result<(), Error> {
        // The end of an incomplete stream isn't noted, as its beginning wasn't.
        if !self.changes[at].state.restoring {
            self.note_end(at, cause)?;
        }
        self.changes[at].state.hidden = true;
        self.changes[at].changed = true;
        let mut next = Some(at);
        while let Some(at) = next.take() {
            let change = &mut self.changes[at];
            if !change.state.hidden || change.state.forks > 0 || change.ended {
                break;
            }
            change.ended = true;
            change.changed = true;
            if change.state.due != 0 {
                self.due.push((change.state.due, change.stream.id, false));
            }
            self.head.streams -= 1;
            let name = change.stream.name().clone();
            self.names.insert(name, None);
            if let Some(source) = change.stream.source.clone() {
                let at = self.change(&source);
                let change = &mut self.changes[at];
                let forks = change.state.forks.checked_sub(1);
                change.state.forks = forks.ok_or_else(|| {
                    Error::damaged(format!("stream {} has too few forks", source.id))
                })?;
                change.changed = true;
                next = Some(at);
            }
        }
        Ok(())
    }

    fn tend(&mut self, tend: Tend) -> Result<(), Error> {
        let Tend {
            stream,
            dropped,
            due,
            oldest,
            is_corrected,
        } = tend;
        let at = self.change(&stream);
        if self.changes[at].ended {
            return Ok(());
        }
        if !self.changes[at].state.hidden && stream.has_expired(self.head.time) {
            self.end(at, EndCause::Expired)?;
            if self.changes[at].ended {
                return Ok(());
            }
        }
        let change = &mut self.changes[at];
        for record in &dropped {
            if record.first != change.state.floor {
                return Err(Error::damaged(format!(
                    "stream {} lost track of its floor",
                    stream.id
                )));
            }
            change.state.floor += record.count;
            change.state.trimmed = record.position + record.count;
            change.state.bytes -= record.bytes;
            self.head.bytes -= record.bytes;
            change.changed = true;
        }
        if is_corrected {
            change.state.expires = stream.expires_on_disk();
            change.changed = true;
        }
        if let Some(due) = due
            && due == change.state.due
        {
            self.due.push((due, stream.id, false));
            change.state.due = 0;
            change.changed = true;
            let kept = change.state.tail > change.state.floor;
            let age = stream.birth.settings.max_age.filter(|_| kept);
            let since = oldest.unwrap_or(self.head.time);
            let ages = age.map(|age| Timestamp(since).after(age).0);
            let ends = stream
                .expires()
                .filter(|_| !change.state.hidden)
                .map(|end| end.0);
            if let Some(next) = ages.into_iter().chain(ends).min() {
                change.state.due = next.max(1);
                self.due.push((change.state.due, stream.id, true));
            }
        }
        Ok(())
    }
}
