//! Streams that are moved here from another log.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::{
    Followed, Machine, PER_MESSAGE, PER_STREAM, Store, Stored, Stream, producer_weight, weight,
};
use crate::clock::Timestamp;
use crate::encoding::birth::Birth;
use crate::error::{Error, Kind};
use crate::grouping;
use crate::name::StreamName;
use crate::offset::Offset;
use crate::read::EndCause;
use crate::restore::{Image, ProducerImage, Restore, Restored, check_complete, check_end};

impl<S: Stored> Machine<S> {
    /// Returns the image of a stream and its producers, as [`Log::image`](crate::Log::image) does.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone).
    pub fn image(&self, name: &StreamName) -> Result<(Image, Vec<ProducerImage>), Error> {
        let id = self.get(name)?;
        let stream = &self.by_id[&id];
        let (settings, created) = (&stream.settings, stream.created.0);
        let image = Image::of(
            settings,
            created,
            &stream.lineage,
            self.floor(id),
            &stream.state,
        );
        let producers = stream.producers.iter();
        let mut producers: Vec<_> = producers
            .map(|(id, state)| ProducerImage::of(id.clone(), state))
            .collect();
        producers.sort_unstable_by(|a, b| a.producer.id.cmp(&b.producer.id));
        Ok((image, producers))
    }

    /// Performs a step of restoring a stream, as [`Log::restore`](crate::Log::restore) does.
    ///
    /// # Errors
    ///
    /// The errors of [`Log::restore`](crate::Log::restore), except for storage.
    pub fn restore(
        &mut self,
        name: &StreamName,
        restore: Restore,
        store: Store<'_, S>,
    ) -> Result<Restored, Error> {
        let found = match self.find(name) {
            Err(error) if error.is_restoring() => Ok(self.names[name]),
            found => found,
        };
        let id = match (restore, found) {
            (Restore::Begin(image), Ok(id)) => self.begin_again(id, name, &image)?,
            (Restore::Begin(image), Err(error)) if error.is_not_found() => {
                self.has_place()?;
                self.begin(name, &image)?
            }
            (_, Err(error)) => return Err(error),
            (Restore::End, Ok(id)) if !self.by_id[&id].state.restoring => id,
            (_, Ok(id)) if !self.by_id[&id].state.restoring => return Err(Kind::Taken.into()),
            (Restore::Producers(producers), Ok(id)) => {
                self.put_producers(id, &producers)?;
                id
            }
            (
                Restore::Messages {
                    at,
                    times,
                    messages,
                },
                Ok(id),
            ) => {
                check_end(&self.by_id[&id].lineage, at, messages.len())?;
                let tail = self.by_id[&id].state.tail;
                if at.number() >= tail {
                    let bytes: usize = messages.iter().map(Bytes::len).sum();
                    self.take(bytes as u64 + messages.len() as u64 * PER_MESSAGE)?;
                    if at.number() > tail {
                        self.start_at(id, at);
                    }
                    let now = self.now;
                    for (time, run) in grouping::runs(&times) {
                        self.push(id, &messages[run.clone()], run.start, time.min(now), store);
                    }
                }
                id
            }
            (Restore::End, Ok(id)) => {
                check_complete(&self.by_id[&id].lineage, &self.by_id[&id].state)?;
                let now = self.now;
                let stream = self.stream(id);
                stream.used = now;
                stream.state.hidden = false;
                stream.state.restoring = false;
                self.publish(id, false);
                self.note_end(id, EndCause::Restored);
                self.trim(id);
                self.reschedule(id);
                id
            }
        };
        Ok(Restored::of(&self.by_id[&id].state))
    }

    /// Begins a stream whose name is free.
    fn begin(&mut self, name: &StreamName, image: &Image) -> Result<u64, Error> {
        let birth = image.birth(name);
        self.take(PER_STREAM + weight(name, &birth.settings))?;
        let id = self.next_id;
        self.next_id += 1;
        let lineage = birth.lineage(self.rules.identity.stream(id), None);
        let Birth {
            created, settings, ..
        } = birth;
        let stream = Stream {
            name: name.clone(),
            lineage,
            settings,
            created: Timestamp(created),
            used: self.now,
            state: image.state(),
            producers: HashMap::new(),
            none_idle_before: 0,
            records: VecDeque::new(),
            fork: None,
            depth: 0,
        };
        self.by_id.insert(id, Followed::new(stream));
        self.names.insert(name.clone(), id);
        Ok(id)
    }

    /// Begins a stream although there is one of its name.
    fn begin_again(&mut self, id: u64, name: &StreamName, image: &Image) -> Result<u64, Error> {
        let stream = &self.by_id[&id];
        let state = &stream.state;
        if !state.restoring {
            return match image.is_in(&stream.lineage, state) {
                true => Ok(id),
                false => Err(Kind::Taken.into()),
            };
        }
        let is_same = stream.settings == image.settings
            && stream.created == image.created
            && stream.lineage.inherited().eq(image.marks.iter().copied());
        if is_same {
            let renewed = image.renew(state);
            self.stream(id).state = renewed;
            return Ok(id);
        }
        // Nothing is dropped if the other one can't begin.
        self.has_room(PER_STREAM + weight(name, &image.settings))?;
        self.end(id, EndCause::Deleted);
        self.begin(name, image)
    }

    fn put_producers(&mut self, id: u64, producers: &[ProducerImage]) -> Result<(), Error> {
        let known = &self.by_id[&id].producers;
        let ids = producers.iter().map(|image| image.producer.id.as_str());
        let new: BTreeSet<&str> = ids.filter(|id| !known.contains_key(*id)).collect();
        let limit = self.rules.limits.producers;
        if known.len() + new.len() > limit as usize {
            let limit = limit.into();
            return Err(Kind::TooManyProducers { limit }.into());
        }
        self.take(new.into_iter().map(producer_weight).sum())?;
        let now = self.now.0;
        for image in producers {
            let (id_of, state) = (image.producer.id.clone(), image.state(now));
            self.stream(id).producers.insert(id_of, state);
        }
        Ok(())
    }

    /// Drops the messages of an incomplete stream. The next one has this offset.
    fn start_at(&mut self, id: u64, at: Offset) {
        let stream = self.stream(id);
        stream.state.floor = at.number();
        stream.state.tail = at.number();
        stream.state.bytes = 0;
        for record in std::mem::take(&mut stream.records) {
            self.forget(&record);
        }
    }
}
