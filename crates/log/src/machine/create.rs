//! Creation of streams and forks.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::{Followed, Fork, Machine, PER_MESSAGE, PER_STREAM, Store, Stored, Stream, weight};
use crate::append_rules::State;
use crate::error::{Error, Kind};
use crate::incarnation::Lineage;
use crate::limits;
use crate::name::StreamName;
use crate::read::Created;
use crate::settings::{self, Create, ForkFrom};

impl<S: Stored> Machine<S> {
    /// Creates a stream, as [`Log::create`](crate::Log::create) does.
    ///
    /// # Errors
    ///
    /// The errors of [`Log::create`](crate::Log::create), except for storage.
    pub fn create(
        &mut self,
        name: &StreamName,
        create: Create,
        store: Store<'_, S>,
    ) -> Result<Created, Error> {
        match self.find(name) {
            Ok(id) => {
                return Ok(Created {
                    info: self.describe(id),
                    is_new: false,
                });
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let mut settings = create.settings;
        let fork = create.fork.map(|from| self.fork_point(from)).transpose()?;
        let mut depth = 0;
        if let Some(fork) = &fork {
            let source = &self.by_id[&fork.source];
            depth = source.depth + 1;
            if depth > limits::FORK_DEPTH {
                return Err(Kind::ForkDepth.into());
            }
            if settings.content_type.is_empty() {
                settings
                    .content_type
                    .clone_from(&source.settings.content_type);
            }
            settings.expiry = settings.expiry.or(source.settings.expiry);
        }
        self.has_place()?;
        let now = self.now;
        let bytes: usize = create.messages.iter().map(Bytes::len).sum();
        let more = bytes as u64 + create.messages.len() as u64 * PER_MESSAGE;
        self.take(PER_STREAM + weight(name, &settings) + more)?;

        let id = self.next_id;
        self.next_id += 1;
        let start = fork.as_ref().map_or(0, |fork| fork.point.own.number());
        let own = self.rules.identity.stream(id);
        let lineage = match &fork {
            Some(fork) => {
                let source = self.stream(fork.source);
                source.state.forks += 1;
                settings::fork_lineage(&source.lineage, own, fork.point.own, fork.cut)
            }
            None => Lineage::new(own),
        };
        let state = State {
            floor: start,
            tail: start,
            appended: now.0,
            ..State::default()
        };
        let stream = Stream {
            name: name.clone(),
            lineage,
            settings,
            created: now,
            used: now,
            state,
            producers: HashMap::new(),
            none_idle_before: 0,
            records: VecDeque::new(),
            fork: fork.map(Box::new),
            depth,
        };
        self.by_id.insert(id, Followed::new(stream));
        self.names.insert(name.clone(), id);
        self.push(id, &create.messages, 0, now, store);
        let stream = self.stream(id);
        stream.state.closed = create.closed;
        // Followers start here: they must not mistake the first messages for new ones.
        self.publish(id, false);
        let info = self.describe(id);
        self.trim(id);
        self.reschedule(id);
        Ok(Created { info, is_new: true })
    }

    /// Checks that there may be another stream.
    pub(super) fn has_place(&self) -> Result<(), Error> {
        let limit = self.rules.limits.streams;
        if self.by_id.len() as u64 >= limit {
            let what = "too many streams";
            return Err(Kind::TooMany { what, limit }.into());
        }
        Ok(())
    }

    fn fork_point(&mut self, from: ForkFrom) -> Result<Fork, Error> {
        let source = self
            .find(&from.source)
            .map_err(|error| match error.kind() {
                Kind::Gone => Kind::SourceGone.into(),
                Kind::NotFound => Kind::SourceNotFound.into(),
                _ => error,
            })?;
        let tail = self.by_id[&source].state.tail;
        let lineage = &self.by_id[&source].lineage;
        let at = settings::fork_offset(lineage, &from, self.floor(source), tail)?;
        let next = (at < tail).then(|| self.piece(source, at, at + 1).size(0) as u64);
        let (point, cut) = settings::fork_point(from, at, tail, next)?;
        Ok(Fork { source, point, cut })
    }
}
