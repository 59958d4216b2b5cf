//! Streams that are moved here from another log.

use std::collections::HashSet;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::offset::Offset;
use crate::read::EndCause;
use crate::restore::{Image, ProducerImage, Restore, Restored, check_complete, check_end};

use super::Draft;

impl Draft<'_> {
    pub(super) fn restore(
        &mut self,
        name: &StreamName,
        restore: Restore,
    ) -> Result<Restored, Error> {
        let mut found = self.find(name)?;
        if let Some(at) = found {
            match self.usable(at) {
                Ok(true) => {}
                Ok(false) => found = None,
                Err(error) if error.is_restoring() => {}
                Err(error) => return Err(error),
            }
        }
        let at = match (restore, found) {
            (Restore::Begin(image), Some(at)) => self.begin_again(at, name, &image)?,
            (Restore::Begin(image), None) => self.begin_restored(name, &image)?,
            (_, None) => return Err(Kind::NotFound.into()),
            (Restore::End, Some(at)) => {
                self.complete(at)?;
                at
            }
            (_, Some(at)) if !self.changes[at].state.restoring => return Err(Kind::Taken.into()),
            (Restore::Producers(producers), Some(at)) => {
                self.put_producers(at, &producers)?;
                at
            }
            (
                Restore::Messages {
                    at: offset,
                    times,
                    messages,
                },
                Some(at),
            ) => {
                self.put_messages(at, offset, &times, messages)?;
                at
            }
        };
        Ok(Restored::of(&self.changes[at].state))
    }

    /// Begins a stream whose name is free.
    fn begin_restored(&mut self, name: &StreamName, image: &Image) -> Result<usize, Error> {
        self.check_room()?;
        Ok(self.begin(image.birth(name), image.state(), None))
    }

    /// Begins a stream although there is one of its name.
    fn begin_again(&mut self, at: usize, name: &StreamName, image: &Image) -> Result<usize, Error> {
        let change = &mut self.changes[at];
        let stream = &change.stream;
        if !change.state.restoring {
            return match image.is_in(&stream.lineage, &change.state) {
                true => Ok(at),
                false => Err(Kind::Taken.into()),
            };
        }
        if stream.birth == image.birth(name) {
            change.state = image.renew(&change.state);
            change.changed = true;
            return Ok(at);
        }
        self.check_disk()?;
        self.end(at, EndCause::Deleted)?;
        Ok(self.begin(image.birth(name), image.state(), None))
    }

    fn put_producers(&mut self, at: usize, producers: &[ProducerImage]) -> Result<(), Error> {
        self.check_disk()?;
        let limit = self.engine.options.limits.producers;
        let now = self.head.time;
        let mut new = HashSet::new();
        for ProducerImage { producer, .. } in producers {
            if self.known(at, &producer.id)?.is_none() {
                new.insert(&producer.id);
            }
        }
        let change = &mut self.changes[at];
        let count = u64::from(change.state.producers) + new.len() as u64;
        change.state.producers = match u32::try_from(count) {
            Ok(count) if count <= limit => count,
            _ => {
                let limit = limit.into();
                return Err(Kind::TooManyProducers { limit }.into());
            }
        };
        for image in producers {
            let state = image.state(now);
            change.producers.insert(image.producer.id.clone(), state);
        }
        change.changed = true;
        Ok(())
    }

    fn put_messages(
        &mut self,
        at: usize,
        offset: Offset,
        times: &[Timestamp],
        messages: Vec<Bytes>,
    ) -> Result<(), Error> {
        self.check_disk()?;
        let change = &mut self.changes[at];
        check_end(&change.stream.lineage, offset, messages.len())?;
        let state = &mut change.state;
        if offset.number() > state.tail {
            // Nothing before it is left.
            let waiting: usize = change.messages.drain(..).map(|message| message.len()).sum();
            change.times.clear();
            self.head.bytes -= state.bytes - waiting as u64;
            (state.floor, state.tail, state.bytes) = (offset.number(), offset.number(), 0);
            change.changed = true;
        }
        if offset.number() == state.tail && !messages.is_empty() {
            let now = self.head.time;
            let bytes: usize = messages.iter().map(Bytes::len).sum();
            change
                .times
                .extend(times.iter().map(|time| time.0.min(now)));
            let end = state.tail + messages.len() as u64;
            let last = change.times.last().copied().unwrap_or(now);
            state.add(end, bytes as u64, last);
            change.messages.extend(messages);
            change.changed = true;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Completes a stream, if it isn't complete.
    fn complete(&mut self, at: usize) -> Result<(), Error> {
        let change = &mut self.changes[at];
        if !change.state.restoring {
            return Ok(());
        }
        check_complete(&change.stream.lineage, &change.state)?;
        change.state.hidden = false;
        change.state.restoring = false;
        change.changed = true;
        change.used = true;
        change.restored = true;
        self.note_end(at, EndCause::Restored)
    }
}
