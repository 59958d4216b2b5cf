//! Creation of streams.

use std::sync::Arc;

use bytes::Bytes;

use crate::append_rules::State;
use crate::disk::queue::Reply;
use crate::disk::stream::Stream;
use crate::encoding::birth::{Birth, Fork};
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::read::Created;
use crate::settings::Create;

use super::{Answer, Change, Draft};

impl Draft<'_> {
    #[expect(
        clippy::type_complexity,
        reason = "it is what remains to be done with the reply"
    )]
    pub(super) fn create(
        &mut self,
        name: &StreamName,
        create: Create,
        fork: Option<(Fork, Arc<Stream>)>,
    ) -> Result<Box<dyn FnOnce(Reply<Created>) -> Answer>, Error> {
        let there = self.find(name)?;
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
        self.check_room()?;
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
            marks: Vec::new(),
        };
        let change = self.begin(birth, state, source);
        self.changes[change].messages = create.messages;
        Ok(Box::new(move |reply| Answer::Created {
            reply,
            change,
            is_new: true,
        }))
    }

    /// Returns the change of the stream with this name, even if it can't be used.
    pub(super) fn find(&mut self, name: &StreamName) -> Result<Option<usize>, Error> {
        match self.names.get(name) {
            Some(&change) => Ok(change),
            None => {
                let stream = self.engine.cache.load(self.store, name)?;
                Ok(stream.map(|stream| self.change(&stream)))
            }
        }
    }

    /// Checks that there is room for another stream.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        self.check_disk()?;
        let limit = self.engine.options.limits.streams;
        if self.head.streams >= limit {
            return Err(Kind::TooMany {
                what: "too many streams",
                limit,
            }
            .into());
        }
        Ok(())
    }

    /// Checks that the disk isn't full.
    pub(super) fn check_disk(&self) -> Result<(), Error> {
        match self.full {
            true => Err(Error::full(false)),
            false => Ok(()),
        }
    }

    /// Adds a stream. Returns its change.
    pub(super) fn begin(
        &mut self,
        birth: Birth,
        state: State,
        source: Option<Arc<Stream>>,
    ) -> usize {
        let id = self.head.next_id;
        self.head.next_id += 1;
        self.head.streams += 1;
        let identity = self.engine.cache.identity;
        let name = birth.name.clone();
        let stream = Arc::new(Stream::new(identity, id, birth, state.clone(), source, &[]));
        stream.note_use(self.head.time);
        let change = self.changes.len();
        self.by_id.insert(id, change);
        self.names.insert(name, Some(change));
        self.changes.push(Change {
            changed: true,
            created: true,
            used: true,
            ..Change::new(stream, state)
        });
        change
    }
}
