//! Writing of a draft into a batch.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::disk::format::commit::{Commit, Part};
use crate::disk::format::log_head::{self, Checkpoint, Head};
use crate::disk::format::{keys, record, settings, state};
use crate::disk::queue::Dropped;
use crate::disk::store::Store;
use crate::grouping;

use super::{Draft, Sealed};

impl Draft<'_> {
    /// Writes the draft into a batch. The batch is `None` if there is nothing to write, only to
    /// respond.
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
        let mut ended = Vec::new();
        for at in 0..self.changes.len() {
            before.push(commit.count);
            if !self.changes[at].changed {
                continue;
            }
            let part = self.write(&mut batch, at, commit.count, &mut written);
            commit.count += part.count;
            commit.parts.push(part);
            if let Some(cause) = self.changes[at].end {
                ended.push(self.ended(at, cause, commit.position + commit.count));
                commit.count += 1;
            }
        }
        self.write_ends(&mut batch, ended);
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
            if sweep.touch {
                for keyspace in [meta, order, records] {
                    batch.insert(keyspace, keys::TOUCHED, []);
                }
            }
            match sweep.filler {
                0 => {}
                bytes => batch.insert(meta, keys::FILLER, vec![0; bytes]),
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

    /// Writes the changes of one stream. Its records are added to `written`.
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
                batch.insert(meta, &*name, log_head::encode_number(&name, id));
            }
        }
        if change.used {
            change.stream.note_use(time);
            change.state.expires = change.stream.expires_on_disk();
        }
        // A trimmed stream has one entry: the position after its newest removed message.
        let was = change.stream.trimmed();
        let is = if change.ended {
            0
        } else {
            change.state.trimmed
        };
        if was != is {
            if was > 0 {
                batch.remove(meta, keys::trimmed(was, id));
            }
            if is > 0 {
                let key = keys::trimmed(is, id);
                batch.insert(
                    meta,
                    &*key,
                    log_head::encode_number(&key, change.state.floor),
                );
            }
        }
        if change.ended {
            // Another stream can have received the name in this same commit.
            let taken = self.names.get(change.stream.name()).copied().flatten();
            if taken.is_none() && !change.created {
                batch.remove(meta, &*name);
            }
            // Before the state is removed: the records of a stream that has neither entry are dead.
            let key = keys::garbage(id);
            let garbage = log_head::encode_garbage(&key, commit, change.state.floor);
            batch.insert(meta, &*key, garbage);
            batch.remove(meta, keys::settings(id));
            batch.remove(meta, keys::state(id));
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
            let producer = state::encode_producer(&key, producer);
            batch.insert(meta, key, producer);
        }
        let messages = std::mem::take(&mut change.messages);
        for range in grouping::split(&messages) {
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

/// Removes records, and their share of their commits. A commit without messages is removed too,
/// unless opening the log would miss it.
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
