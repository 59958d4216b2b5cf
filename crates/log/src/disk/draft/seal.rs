//! Turning a draft into a commit.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::disk::format::commit::{Commit, IndexChange, Part};
use crate::disk::format::keys;
use crate::disk::format::log_head::{self, Head};
use crate::disk::format::record::{self, Record};
use crate::encoding::{birth, producer, state};
use crate::grouping;
use crate::read::EndCause;

use super::{Draft, Sealed};

/// A commit to be written.
pub(crate) struct Written {
    pub(crate) commit: Commit,
    /// The records of its parts, each with the index of its stream's change. They end up in [`Sealed`].
    records: Vec<(usize, Record)>,
    /// Changes of the index that follow from the parts.
    pub(crate) implied: Vec<IndexChange>,
}

impl Written {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.commit.changes.push((key, Some(value)));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.commit.changes.push((key, None));
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.commit.changes.is_empty() && self.implied.is_empty()
    }
}

impl Draft<'_> {
    /// Turns the draft into a commit. It is `None` if there is nothing to write, only to respond.
    pub(crate) fn seal(mut self) -> (Option<Written>, Sealed) {
        let committed = self.engine.committed();
        let mut written = Written {
            commit: Commit {
                position: self.head.position,
                count: 0,
                time: self.head.time,
                counts: None,
                parts: Vec::new(),
                changes: Vec::new(),
            },
            records: Vec::new(),
            implied: Vec::new(),
        };
        let mut before = Vec::with_capacity(self.changes.len());
        let mut ended = Vec::new();
        for at in 0..self.changes.len() {
            before.push(written.commit.count);
            if !self.changes[at].changed {
                continue;
            }
            self.write(&mut written, at);
            let change = &self.changes[at];
            let restored = change.restored.then_some(EndCause::Restored);
            if let Some(cause) = change.end.or(restored) {
                let position = written.commit.position + written.commit.count;
                ended.push(self.ended(at, cause, position));
                written.commit.count += 1;
            }
        }
        self.write_ends(&mut written.commit.changes, ended);
        for (due, id, put) in &self.due {
            let key = keys::due(*due, *id);
            if *put {
                written.put(key, Vec::new());
            } else {
                written.remove(key);
            }
        }
        for key in std::mem::take(&mut self.swept) {
            written.remove(key);
        }
        let nothing = written.is_empty();
        self.head.position += written.commit.count;
        if nothing {
            self.head = committed;
        } else {
            let Head {
                next_id,
                streams,
                bytes,
                ..
            } = self.head;
            if written.commit.head(self.head.commit, committed) != self.head {
                written.commit.counts = Some([next_id, streams, bytes]);
            }
        }
        let records = std::mem::take(&mut written.records);
        let sealed = Sealed {
            head: self.head,
            before,
            records,
            changes: self.changes,
            answers: self.answers,
        };
        ((!nothing).then_some(written), sealed)
    }

    /// Writes the changes of one stream.
    fn write(&mut self, written: &mut Written, at: usize) {
        let time = self.head.time;
        let change = &mut self.changes[at];
        let id = change.stream.id;
        let count = change.messages.len() as u64;
        let first = change.state.tail - count;
        let position = written.commit.position + written.commit.count;
        written.commit.count += count;
        let messages = std::mem::take(&mut change.messages);
        let own = written.commit.parts.len();
        let mut put = |start: usize, time, messages: &[Bytes]| {
            for range in grouping::split(messages) {
                let before = (start + range.start) as u64;
                let record =
                    Record::encode(first + before, position + before, time, &messages[range]);
                written.commit.parts.push(Part {
                    id,
                    first: record.first,
                    head: record.head,
                    sum: record::sum(&record.data),
                });
                self.head.bytes += u64::from(record.head.bytes);
                written.records.push((at, record));
            }
        };
        if change.times.is_empty() {
            put(0, time, &messages);
        } else {
            // Other messages can follow restored ones in one commit.
            change.times.resize(messages.len(), time);
            for (time, run) in grouping::runs(&change.times) {
                put(run.start, time, &messages[run]);
            }
        }
        let name = keys::name(change.stream.name().as_str());
        if change.created {
            let birth = birth::encode(&change.stream.birth);
            written.put(keys::settings(id), birth);
            if !change.ended {
                written.put(name.clone(), log_head::encode_number(id));
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
                written.remove(keys::trimmed(was, id));
            }
            if is > 0 {
                let floor = log_head::encode_number(change.state.floor);
                written.put(keys::trimmed(is, id), floor);
            }
        }
        if change.ended {
            // Another stream can have received the name in this same commit.
            let taken = self.names.get(change.stream.name()).copied().flatten();
            if taken.is_none() && !change.created {
                written.remove(name);
            }
            if change.state.producers > 0 || !change.producers.is_empty() {
                written.put(keys::garbage(id), Vec::new());
            }
            written.remove(keys::settings(id));
            written.remove(keys::state(id));
            if change.stream.is_parted {
                written.remove(keys::partings(id));
            }
            self.head.bytes -= change.state.bytes;
        } else {
            let settings = &change.stream.birth.settings;
            let due = &mut change.state.due;
            if *due == 0 && !change.state.hidden {
                let ages = settings
                    .max_age
                    .filter(|_| count > 0)
                    .map(|age| Timestamp(time).after(age));
                // The ages of restored messages are looked up when the stream is due.
                let ages = match change.restored && settings.max_age.is_some() {
                    true => Some(Timestamp(time)),
                    false => ages,
                };
                let next = change.stream.expires().into_iter().chain(ages).min();
                *due = next.map_or(0, |next| next.0.max(1));
                if *due != 0 {
                    self.due.push((*due, id, true));
                }
            }
            let put = (keys::state(id), Some(state::encode(&change.state)));
            let mut implied = change.stream.state();
            for part in &written.commit.parts[own..] {
                implied.add(part.end(), part.head.bytes.into(), part.head.time);
            }
            // The same function makes it from the parts when the log is opened.
            if !change.created && count > 0 && implied == change.state {
                written.implied.push(put);
            } else {
                written.commit.changes.push(put);
            }
            for id_of in &change.forgotten {
                written.remove(keys::producer(id, id_of));
            }
        }
        for (name, producer) in &change.producers {
            written.put(keys::producer(id, name), producer::encode(producer));
        }
    }
}
