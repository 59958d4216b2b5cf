//! Creation of streams.

use std::collections::{HashMap, HashSet};
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
        let identity = self.engine.cache.identity;
        let stream = Arc::new(Stream::new(identity, id, birth, state.clone(), source));
        stream.note_use(time);
        let change = self.changes.len();
        self.by_id.insert(id, change);
        self.names.insert(name.clone(), Some(change));
        self.changes.push(Change {
            stream,
            state,
            changed: true,
            created: true,
            end: None,
            ended: false,
            messages: create.messages,
            producers: HashMap::new(),
            forgotten: HashSet::new(),
            used: true,
        });
        Ok(Box::new(move |reply| Answer::Created {
            reply,
            change,
            is_new: true,
        }))
    }
}
