//! One commit in the making: requests are judged against what is committed and what the draft
//! holds already, and change only the draft. If it can't be committed, nothing has happened.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::engine::Engine;
use super::format::commit::{Commit, Part};
use super::format::head::{self, Checkpoint, Head};
use super::format::settings::{Birth, Fork};
use super::format::{keys, record, settings, state};
use super::queue::{Dropped, Reply, Request, Sweep, Tend};
use super::store::Store;
use super::stream::Stream;
use crate::append::{Append, Outcome, Receipt};
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::read::Created;
use crate::records;
use crate::rules::{self, ProducerState, State, Verdict};
use crate::settings::Create;

/// What the draft does to one stream.
struct Change {
    stream: Arc<Stream>,
    state: State,
    /// Whether anything differs from what is committed.
    changed: bool,
    created: bool,
    /// Taken away for good.
    ended: bool,
    messages: Vec<Bytes>,
    producers: HashMap<String, ProducerState>,
    forgotten: Vec<String>,
    used: bool,
}

/// An answer that waits for the commit.
enum Answer {
    /// The append's messages end so far into its stream's messages of this commit; `None` has none.
    Append {
        reply: Reply<Outcome>,
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
    /// Nothing more to say; the stream was no more, if so.
    Done {
        reply: Reply<()>,
        again: bool,
    },
    AppendAgain(Reply<Outcome>),
    Failed(Failed, Error),
}

enum Failed {
    Append(Reply<Outcome>),
    Create(Reply<Created>),
    Other(Reply<()>),
}

/// What is committed and what to tell whom.
pub(crate) struct Sealed {
    pub(crate) head: Head,
    changes: Vec<Change>,
    answers: Vec<Answer>,
    /// For each change, where its messages start in the commit.
    before: Vec<u64>,
    records: Vec<(usize, u64, Bytes)>,
}

pub(crate) struct Draft<'a> {
    engine: &'a Engine,
    store: &'a Store,
    /// No room on the disk: nothing that makes the log grow.
    full: bool,
    head: Head,
    changes: Vec<Change>,
    by_id: HashMap<u64, usize>,
    /// Names that this draft gives away or sets free.
    names: HashMap<StreamName, Option<usize>>,
    answers: Vec<Answer>,
    swept: Vec<Sweep>,
    trimmed: Vec<(Vec<Dropped>, Vec<Commit>)>,
    /// Entries of the timetable to take out and to put in.
    due: Vec<(u64, u64, bool)>,
    bytes: usize,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(engine: &'a Engine, store: &'a Store, full: bool) -> Self {
        let mut head = engine.committed();
        head.commit += 1;
        head.time = head.time.max(engine.options.clock.now().0);
        Self {
            engine,
            store,
            full,
            head,
            changes: Vec::new(),
            by_id: HashMap::new(),
            names: HashMap::new(),
            answers: Vec::new(),
            swept: Vec::new(),
            trimmed: Vec::new(),
            due: Vec::new(),
            bytes: 0,
        }
    }

    /// Bytes of messages so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// About how many bytes it takes in the journal.
    pub(crate) fn weight(&self) -> u64 {
        (self.bytes + 500 + 500 * self.changes.len()) as u64
    }

    /// Takes a request in.
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
            Request::Delete { stream, reply } => {
                let change = self.change(&stream);
                let answer = match self.usable(change) {
                    Ok(true) => self.end(change).map(|()| false),
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
            Request::Sweep(sweep, reply) => {
                self.swept.push(sweep);
                self.answers.push(Answer::Done {
                    reply,
                    again: false,
                });
            }
        }
    }

    fn change(&mut self, stream: &Arc<Stream>) -> usize {
        *self.by_id.entry(stream.id).or_insert_with(|| {
            self.changes.push(Change {
                stream: Arc::clone(stream),
                state: stream.state(),
                changed: false,
                created: false,
                ended: stream.has_ended(),
                messages: Vec::new(),
                producers: HashMap::new(),
                forgotten: Vec::new(),
                used: false,
            });
            self.changes.len() - 1
        })
    }

    /// Whether a stream is there to be used; `false` where another may have its name by now.
    /// One that has expired is ended with this.
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
        if state.hidden {
            return Err(Kind::Gone.into());
        }
        if stream.has_expired(self.head.time) && !*created {
            self.end(change)?;
            return if self.changes[change].ended {
                Ok(false)
            } else {
                Err(Kind::Gone.into())
            };
        }
        Ok(true)
    }

    fn append(&mut self, stream: &Arc<Stream>, append: Append, reply: Reply<Outcome>) {
        let change = self.change(stream);
        let answer = match self.usable(change) {
            Ok(true) => self.judged(change, append),
            Ok(false) => {
                self.answers.push(Answer::AppendAgain(reply));
                return;
            }
            Err(error) => Err(error),
        };
        self.answers.push(match answer {
            Ok((outcome, end)) => Answer::Append {
                reply,
                outcome,
                end,
            },
            Err(error) => Answer::Failed(Failed::Append(reply), error),
        });
    }

    fn judged(
        &mut self,
        at: usize,
        append: Append,
    ) -> Result<(Outcome, Option<(usize, u64)>), Error> {
        let known = match &append.producer {
            Some(producer) => self.known(at, &producer.id)?,
            None => None,
        };
        let change = &mut self.changes[at];
        let receipt = |next: u64, closed, producer_seq| Receipt {
            next: Offset::new(next),
            position: Position::START,
            closed,
            producer_seq,
        };
        match rules::judge(&change.state, known, &append) {
            Verdict::Refuse(refusal) => return Ok((Outcome::Refused(refusal), None)),
            Verdict::Done => {
                let receipt = receipt(change.state.tail, true, None);
                return Ok((Outcome::Appended(receipt), None));
            }
            Verdict::Duplicate(known) => {
                let receipt = receipt(known.next, change.state.closed, Some(known.seq));
                return Ok((Outcome::Duplicate(receipt), None));
            }
            Verdict::Accept => {}
        }
        if self.full && !append.messages.is_empty() {
            return Err(Kind::Full {
                cause: None,
                unknown: false,
            }
            .into());
        }
        let new_producer = append.producer.is_some() && known.is_none();
        if new_producer && change.state.producers >= self.engine.options.limits.producers {
            self.forget_producers(at)?;
        }
        let bytes = append.bytes();
        let change = &mut self.changes[at];
        change.changed = true;
        change.used = true;
        let state = &mut change.state;
        state.tail += append.messages.len() as u64;
        state.bytes += bytes as u64;
        if !append.messages.is_empty() {
            state.appended = self.head.time;
        }
        if let Some(seq) = append.seq {
            state.seq = Some(seq.into());
        }
        if append.close {
            state.closed = true;
            state.closed_by.clone_from(&append.producer);
        }
        state.producers += u32::from(new_producer);
        let producer_seq = append.producer.as_ref().map(|producer| producer.seq);
        let (tail, closed) = (state.tail, state.closed);
        if let Some(producer) = append.producer {
            let (epoch, seq) = (producer.epoch, producer.seq);
            let used = self.head.time;
            change.producers.insert(
                producer.id,
                ProducerState {
                    epoch,
                    seq,
                    next: tail,
                    used,
                },
            );
        }
        let some = !append.messages.is_empty();
        change.messages.extend(append.messages);
        self.bytes += bytes;
        let end = some.then_some((at, change.messages.len() as u64));
        Ok((Outcome::Appended(receipt(tail, closed, producer_seq)), end))
    }

    /// What is remembered of a producer.
    fn known(&self, change: usize, id: &str) -> Result<Option<ProducerState>, Error> {
        let Change {
            stream,
            state,
            producers,
            forgotten,
            ..
        } = &self.changes[change];
        if let Some(state) = producers.get(id) {
            return Ok(Some(*state));
        }
        if state.producers == 0 || forgotten.iter().any(|forgotten| forgotten == id) {
            return Ok(None);
        }
        if let Some(state) = stream.producer(id) {
            return Ok(Some(state));
        }
        self.store.producer(stream.id, id)
    }

    /// Forgets the quarter of a stream's producers that was idle longest.
    fn forget_producers(&mut self, at: usize) -> Result<(), Error> {
        let change = &mut self.changes[at];
        let most = change.state.producers as usize;
        let mut all: HashMap<String, ProducerState> = self
            .store
            .producers(change.stream.id, most + 1)?
            .into_iter()
            .collect();
        for id in &change.forgotten {
            all.remove(id);
        }
        all.extend(
            change
                .producers
                .iter()
                .map(|(id, state)| (id.clone(), *state)),
        );
        let mut all: Vec<_> = all
            .into_iter()
            .map(|(id, state)| (state.used, id))
            .collect();
        all.sort_unstable();
        let quarter = all.len().div_ceil(4);
        for (_, id) in all.drain(..quarter) {
            change.producers.remove(&id);
            change.forgotten.push(id);
        }
        change.state.producers = u32::try_from(all.len()).unwrap_or(u32::MAX);
        Ok(())
    }

    #[expect(
        clippy::type_complexity,
        reason = "it is what remains to be done with the reply"
    )]
    fn create(
        &mut self,
        name: &StreamName,
        create: Create,
        fork: Option<(Fork, Arc<Stream>)>,
    ) -> Result<Box<dyn FnOnce(Reply<Created>) -> Answer>, Error> {
        let there = match self.names.get(name) {
            Some(&Some(change)) => Some(change),
            Some(None) => None,
            None => self
                .engine
                .cache
                .load(self.store, name)?
                .map(|stream| self.change(&stream)),
        };
        if let Some(change) = there
            && self.usable(change)?
        {
            if self.changes[change].created {
                return Ok(Box::new(move |reply| Answer::Created {
                    reply,
                    change,
                    is_new: false,
                }));
            }
            let stream = Arc::clone(&self.changes[change].stream);
            return Ok(Box::new(move |reply| Answer::Exists { reply, stream }));
        }
        if self.full {
            return Err(Kind::Full {
                cause: None,
                unknown: false,
            }
            .into());
        }
        if self.head.streams >= self.engine.options.limits.streams {
            let limit = self.engine.options.limits.streams;
            return Err(Kind::TooMany {
                what: "too many streams",
                limit,
            }
            .into());
        }
        let (fork, source) = fork.unzip();
        let mut settings = create.settings;
        let mut start = 0;
        if let (Some(fork), Some(source)) = (&fork, &source) {
            let at = self.change(source);
            match self.usable(at) {
                Ok(true) => {}
                Ok(false) => return Err(Kind::SourceNotFound.into()),
                Err(_) => return Err(Kind::SourceGone.into()),
            }
            if source.is_deep() {
                return Err(Kind::ForkDepth.into());
            }
            let state = &mut self.changes[at].state;
            state.forks += 1;
            self.changes[at].changed = true;
            start = fork.point.own.number();
            let inherited = &source.birth.settings;
            if settings.content_type.is_empty() {
                settings.content_type.clone_from(&inherited.content_type);
            }
            settings.expiry = settings.expiry.or(inherited.expiry);
        }
        let id = self.head.next_id;
        self.head.next_id += 1;
        self.head.streams += 1;
        let time = self.head.time;
        let count = create.messages.len() as u64;
        let bytes: usize = create.messages.iter().map(Bytes::len).sum();
        self.bytes += bytes;
        let state = State {
            floor: start,
            tail: start + count,
            bytes: bytes as u64,
            closed: create.closed,
            appended: time,
            ..State::default()
        };
        let birth = Birth {
            name: name.clone(),
            created: time,
            settings,
            fork,
        };
        let stream = Arc::new(Stream::new(id, birth, state.clone(), source));
        stream.note_use(time);
        let change = self.changes.len();
        self.by_id.insert(id, change);
        self.names.insert(name.clone(), Some(change));
        self.changes.push(Change {
            stream,
            state,
            changed: true,
            created: true,
            ended: false,
            messages: create.messages,
            producers: HashMap::new(),
            forgotten: Vec::new(),
            used: true,
        });
        Ok(Box::new(move |reply| Answer::Created {
            reply,
            change,
            is_new: true,
        }))
    }

    /// Ends a stream: hides it where forks live, and takes it away where none does; then its
    /// source too, if that was hidden for it.
    fn end(&mut self, at: usize) -> Result<(), Error> {
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
            commits,
            due,
            oldest,
        } = tend;
        let at = self.change(&stream);
        if self.changes[at].ended {
            return Ok(());
        }
        if !self.changes[at].state.hidden && stream.has_expired(self.head.time) {
            self.end(at)?;
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
            change.state.bytes -= record.bytes;
            self.head.bytes -= record.bytes;
            change.changed = true;
        }
        if !dropped.is_empty() {
            self.trimmed.push((dropped, commits));
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

    /// Writes the draft into a batch. `None`: there is nothing to write, only to answer.
    pub(crate) fn seal(mut self) -> (Option<fjall::OwnedWriteBatch>, Sealed) {
        let number = self.head.commit;
        let mut batch = self.store.db.batch();
        let mut commit = Commit {
            position: self.head.position,
            number,
            count: 0,
            parts: Vec::new(),
        };
        let mut before = Vec::with_capacity(self.changes.len());
        let mut written = Vec::new();
        for at in 0..self.changes.len() {
            before.push(commit.count);
            if !self.changes[at].changed {
                continue;
            }
            let part = self.write(&mut batch, at, commit.count, &mut written);
            commit.count += part.count;
            commit.parts.push(part);
        }
        let Store {
            meta,
            order,
            records,
            ..
        } = self.store;
        for (due, id, put) in &self.due {
            let key = keys::due(*due, *id);
            if *put {
                batch.insert(meta, key, []);
            } else {
                batch.remove(meta, key);
            }
        }
        for (dropped, commits) in &self.trimmed {
            take_away(
                &mut batch,
                self.store,
                dropped,
                commits,
                self.engine.checkpoint(),
            );
        }
        for sweep in &self.swept {
            take_away(
                &mut batch,
                self.store,
                &sweep.records,
                &sweep.commits,
                self.engine.checkpoint(),
            );
            self.head.bytes -= sweep.records.iter().map(|record| record.bytes).sum::<u64>();
            for key in &sweep.keys {
                batch.remove(meta, &**key);
            }
            for key in &sweep.spent {
                batch.remove(order, *key);
            }
            if let Some(checkpoint) = &sweep.checkpoint {
                batch.insert(meta, keys::CHECKPOINT, checkpoint.encode());
            }
        }
        let nothing = batch.is_empty();
        self.head.position += commit.count;
        if nothing {
            self.head = self.engine.committed();
        } else {
            for (_, key, value) in &written {
                batch.insert(records, *key, value.clone());
            }
            batch.insert(order, commit.key(), commit.encode());
            batch.insert(meta, keys::HEAD, self.head.encode());
        }
        let records = written.into_iter().map(|(at, key, value)| {
            (
                at,
                keys::record_of(&key).map_or(0, |(_, first)| first),
                value,
            )
        });
        let sealed = Sealed {
            head: self.head,
            before,
            records: records.collect(),
            changes: self.changes,
            answers: self.answers,
        };
        ((!nothing).then_some(batch), sealed)
    }

    /// Writes what changed of one stream; its records are put into `written`.
    fn write(
        &mut self,
        batch: &mut fjall::OwnedWriteBatch,
        at: usize,
        before: u64,
        written: &mut Vec<(usize, [u8; 16], Bytes)>,
    ) -> Part {
        let Head {
            commit,
            time,
            position,
            ..
        } = self.head;
        let meta = &self.store.meta;
        let change = &mut self.changes[at];
        let id = change.stream.id;
        let count = change.messages.len() as u64;
        let first = change.state.tail - count;
        let name = keys::name(change.stream.name().as_str());
        change.state.commit = commit;
        if change.created {
            let key = keys::settings(id);
            let birth = settings::encode(&key, &change.stream.birth);
            batch.insert(meta, key, birth);
            if !change.ended {
                batch.insert(meta, &*name, head::encode_number(&name, id));
            }
        }
        if change.used {
            change.stream.note_use(time);
            change.state.expires = change.stream.expires_on_disk();
        }
        if change.ended {
            // Another stream may have been given the name in this very commit.
            let taken = self.names.get(change.stream.name()).copied().flatten();
            if taken.is_none() && !change.created {
                batch.remove(meta, &*name);
            }
            batch.remove(meta, keys::settings(id));
            batch.remove(meta, keys::state(id));
            let key = keys::garbage(id);
            batch.insert(meta, &*key, head::encode_number(&key, commit));
        } else {
            let settings = &change.stream.birth.settings;
            let due = &mut change.state.due;
            if *due == 0 && !change.state.hidden {
                let ages = settings
                    .max_age
                    .filter(|_| count > 0)
                    .map(|age| Timestamp(time).after(age));
                let next = change.stream.expires().into_iter().chain(ages).min();
                *due = next.map_or(0, |next| next.0.max(1));
                if *due != 0 {
                    self.due.push((*due, id, true));
                }
            }
            let key = keys::state(id);
            let state = state::encode(&key, &change.state);
            batch.insert(meta, key, state);
            for id_of in &change.forgotten {
                batch.remove(meta, keys::producer(id, id_of));
            }
        }
        for (name, producer) in &change.producers {
            let key = keys::producer(id, name);
            let producer = state::encode_producer(&key, *producer);
            batch.insert(meta, key, producer);
        }
        let messages = std::mem::take(&mut change.messages);
        for range in records::split(&messages) {
            let start = range.start as u64;
            let from = position + before + start;
            let value = record::encode(id, first + start, from, time, &messages[range]);
            written.push((at, keys::record(id, first + start), value));
        }
        self.head.bytes += messages
            .iter()
            .map(|message| message.len() as u64)
            .sum::<u64>();
        Part {
            id,
            lives: !change.ended,
            count,
            first,
            before,
        }
    }
}

/// Takes records away, and out of their commits; a commit that has none left goes too, unless
/// opening the log would miss it.
fn take_away(
    batch: &mut fjall::OwnedWriteBatch,
    store: &Store,
    dropped: &[Dropped],
    commits: &[Commit],
    checkpoint: Checkpoint,
) {
    for record in dropped {
        batch.remove(&store.records, keys::record(record.id, record.first));
    }
    for commit in commits {
        if commit.is_spent() && commit.number <= checkpoint.commit {
            batch.remove(&store.order, commit.key());
        } else {
            batch.insert(&store.order, commit.key(), commit.encode());
        }
    }
}

impl Sealed {
    /// Makes known what was committed, and answers.
    pub(crate) fn publish(self, engine: &Engine) -> Vec<(Arc<Stream>, usize)> {
        let mut kept = Vec::with_capacity(self.records.len());
        for (at, first, record) in self.records {
            let stream = &self.changes[at].stream;
            kept.push((Arc::clone(stream), record.len()));
            stream.keep(first, record);
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
                let over = most.is_some_and(|most| change.state.bytes > most) && !change.ended;
                stream.publish(change.state, change.ended);
                if change.ended {
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
        for answer in self.answers {
            answer.send(&published, start, &self.before, self.head.position);
        }
        // Not before it is published and told: trimming looks at what is.
        for stream in too_large {
            engine.over(&stream);
        }
        kept
    }

    /// Answers that nothing could be committed.
    pub(crate) fn fail(self, error: impl Fn() -> Error) {
        for answer in self.answers {
            answer.fail(&error);
        }
    }
}

impl Answer {
    fn send(self, streams: &[Arc<Stream>], start: u64, before: &[u64], head: u64) {
        // Who asked may have gone; then nobody needs the answer.
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
                reply.send(Ok(Some(outcome))).is_err()
            }
            Self::Created {
                reply,
                change,
                is_new,
            } => {
                let info = streams[change].info();
                reply.send(Ok(Some(Created { info, is_new }))).is_err()
            }
            Self::Exists { reply, stream } => {
                let info = stream.info();
                reply
                    .send(Ok(Some(Created {
                        info,
                        is_new: false,
                    })))
                    .is_err()
            }
            Self::Done { reply, again } => reply.send(Ok((!again).then_some(()))).is_err(),
            Self::AppendAgain(reply) => reply.send(Ok(None)).is_err(),
            Self::Failed(failed, error) => failed.send(error),
        };
    }

    fn fail(self, error: &impl Fn() -> Error) {
        let _gone = match self {
            Self::Append { reply, .. } | Self::AppendAgain(reply) => {
                reply.send(Err(error())).is_err()
            }
            Self::Created { reply, .. } | Self::Exists { reply, .. } => {
                reply.send(Err(error())).is_err()
            }
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
            Self::Other(reply) => reply.send(Err(error)).is_err(),
        }
    }
}
