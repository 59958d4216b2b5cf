//! The streams in memory: those in use and some that were used recently.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::format::record::Record;
use super::parting::Parting;
use super::store::Store;
use crate::append_rules::State;
use crate::clock::{JUMP, Timestamp, millis};
use crate::encoding::birth::{Birth, Fork};
use crate::error::{Error, Kind};
use crate::follow::Progress;
use crate::incarnation::{Identity, Lineage};
use crate::limits;
use crate::name::StreamName;
use crate::offset::Offset;
use crate::producers::ProducerState;
use crate::read::Info;
use crate::settings::Expiry;

/// Maximum number of producers of one stream that are kept in memory.
const PRODUCERS: usize = 16;
const SHARDS: usize = 16;

/// One stream. At most one of these exists for a stream at a time, and it has the last committed
/// state.
pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) birth: Birth,
    pub(crate) lineage: Lineage,
    /// `true` if it has [partings](Parting).
    pub(crate) is_parted: bool,
    /// The source, if the stream is a fork.
    pub(crate) source: Option<Arc<Stream>>,
    depth: usize,
    /// The last committed state. Only the writer changes it.
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// The time of the last use, in milliseconds.
    used: AtomicU64,
    producers: Mutex<HashMap<String, ProducerState>>,
    /// The progress of the search for idle producers.
    pub(crate) idle: Mutex<IdleSearch>,
    recent: Arc<Recent>,
    /// `true` if it was used since it was last considered for eviction.
    hot: AtomicBool,
    /// `true` if it is removed for good. Another stream may have its name.
    ended: AtomicBool,
    /// `true` while it waits to be trimmed.
    pub(crate) over: AtomicBool,
}

/// The newest records of a stream, up to the tail.
///
/// They are an allocation of their own, so that the writer can list them without holding on to the
/// memory of streams that are no longer in use.
#[derive(Default)]
pub(crate) struct Recent(Mutex<VecDeque<Record>>);

impl Recent {
    /// Approximate memory of a record besides its bytes, in the list and in the writer's.
    const RECORD: usize = size_of::<Record>() + 64;

    /// Adds a committed record. Returns the approximate memory that it takes.
    pub(crate) fn keep(&self, record: Record) -> usize {
        let memory = record.data.len() + Self::RECORD;
        self.0.lock().push_back(record);
        memory
    }

    /// Drops the oldest record.
    pub(crate) fn let_go(&self) {
        self.0.lock().pop_front();
    }

    /// Returns the records from the one that contains `at` on, of about `budget` bytes, or `None` if
    /// that one isn't kept.
    pub(crate) fn from(&self, at: u64, budget: usize) -> Option<Vec<Record>> {
        let records = self.0.lock();
        let start = records
            .partition_point(|record| record.first <= at)
            .checked_sub(1)?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for record in records.range(start..) {
            found.push(record.clone());
            bytes += record.data.len();
            // The first record may be mostly before `at`.
            if bytes > budget && found.len() > 1 {
                break;
            }
        }
        Some(found)
    }
}

/// A search for idle producers through all producers of a stream, a part at a time.
#[derive(Default)]
pub(crate) struct IdleSearch {
    /// The last producer that was looked at, or `None` at the start of a round.
    pub(crate) after: Option<String>,
    /// The oldest last use of the producers that this round has kept.
    pub(crate) oldest: Option<u64>,
    /// No producer has been idle for long enough before this time.
    pub(crate) not_before: u64,
}

impl Stream {
    pub(crate) fn new(
        identity: Identity,
        id: u64,
        birth: Birth,
        state: State,
        source: Option<Arc<Self>>,
        partings: &[Parting],
    ) -> Self {
        let own = identity.stream(id);
        let lineage = birth.lineage(own, source.as_ref().map(|source| &source.lineage));
        let lineage = partings.iter().fold(lineage, |lineage, parting| {
            lineage.after_loss(identity.stream(parting.id), parting.at)
        });
        // The stored expiry is an upper bound. The last use is computed from it.
        let used = match birth.settings.expiry {
            Some(Expiry::Idle(span)) => state
                .expires
                .saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            _ => 0,
        };
        let progress = watch::Sender::new(progress_of(&state, false));
        Self {
            id,
            depth: source.as_ref().map_or(0, |source| source.depth + 1),
            source,
            birth,
            lineage,
            is_parted: !partings.is_empty(),
            state: Mutex::new(state),
            progress,
            used: AtomicU64::new(used),
            producers: Mutex::default(),
            idle: Mutex::default(),
            recent: Arc::default(),
            hot: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &StreamName {
        &self.birth.name
    }

    pub(crate) fn is_deep(&self) -> bool {
        self.depth >= limits::FORK_DEPTH
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Returns `true` if the stream's settings can remove its messages.
    pub(crate) fn is_capped(&self) -> bool {
        let settings = &self.birth.settings;
        settings.max_age.is_some() || settings.max_bytes.is_some()
    }

    /// Returns the position after the last message that the caps removed, or 0.
    pub(crate) fn trimmed(&self) -> u64 {
        self.state.lock().trimmed
    }

    /// Returns the fork point and the source, if the stream is a fork.
    pub(crate) fn fork(&self) -> Option<(&Fork, &Arc<Self>)> {
        self.birth.fork.as_ref().zip(self.source.as_ref())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn expires(&self) -> Option<Timestamp> {
        let used = Timestamp(self.used.load(Ordering::Relaxed));
        self.birth.settings.expiry.map(|expiry| expiry.after(used))
    }

    pub(crate) fn has_expired(&self, now: u64) -> bool {
        self.expires().is_some_and(|end| end.0 <= now)
    }

    /// Records a use. Returns `true` if it has to be written to the disk.
    pub(crate) fn touch(&self, now: u64) -> bool {
        self.note_use(now);
        matches!(self.birth.settings.expiry, Some(Expiry::Idle(_)))
            && self
                .expires()
                .is_some_and(|end| end.0 > self.state.lock().expires)
    }

    /// Returns the expiry to store: somewhat later than the actual one, so that not every use is
    /// written. After a crash the stream can live that much longer, but never ends too early.
    pub(crate) fn expires_on_disk(&self) -> u64 {
        match (self.birth.settings.expiry, self.expires()) {
            (Some(Expiry::Idle(span)), Some(end)) => end.after(span / 8).0,
            (_, Some(end)) => end.0,
            (_, None) => 0,
        }
    }

    /// Returns the first readable offset.
    pub(crate) fn floor(&self) -> u64 {
        let own = self.state.lock().floor;
        match self.fork() {
            Some((fork, source)) if own == fork.point.own.number() => source.floor().min(own),
            _ => own,
        }
    }

    pub(crate) fn info(&self) -> Info {
        let floor = Offset::new(self.floor());
        let state = self.state.lock();
        Info {
            id: self.id,
            lineage: self.lineage.clone(),
            name: self.birth.name.clone(),
            settings: self.birth.settings.clone(),
            created: Timestamp(self.birth.created),
            appended: Timestamp(state.appended),
            expires: self.expires(),
            floor,
            tail: Offset::new(state.tail),
            closed: state.closed,
            reason: state.reason.clone(),
            bytes: state.bytes,
            fork: self.birth.fork.as_ref().map(|fork| fork.point.clone()),
        }
    }

    pub(crate) fn producer(&self, id: &str) -> Option<ProducerState> {
        self.producers.lock().get(id).copied()
    }

    pub(crate) fn forget_producer(&self, id: &str) {
        self.producers.lock().remove(id);
    }

    pub(crate) fn remember_producer(&self, id: String, state: ProducerState) {
        let mut producers = self.producers.lock();
        if producers.len() >= PRODUCERS && !producers.contains_key(&id) {
            let oldest = producers.iter().min_by_key(|(_, state)| state.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                producers.remove(&oldest);
            }
        }
        producers.insert(id, state);
    }

    /// Returns the newest records.
    pub(crate) fn recent(&self) -> &Arc<Recent> {
        &self.recent
    }

    /// Publishes a committed state.
    pub(crate) fn publish(&self, state: State, ended: bool) {
        let progress = progress_of(&state, ended);
        *self.state.lock() = state;
        if ended {
            self.ended.store(true, Ordering::Release);
        }
        // A new subscriber sees the current value, so without receivers there is nothing to wake. The
        // count is read while the value is locked, so that no one subscribes in between.
        self.progress.send_if_modified(|old| {
            std::mem::replace(old, progress) != progress && self.progress.receiver_count() > 0
        });
    }

    pub(crate) fn note_use(&self, now: u64) {
        if !self.correct_use(now) {
            self.used.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Replaces a last use far in the future, from when the clock was wrong, by now. Returns `true`
    /// if it did.
    pub(crate) fn correct_use(&self, now: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        // The stored last use is up to an eighth of the span ahead.
        let ahead = match self.birth.settings.expiry {
            Some(Expiry::Idle(span)) => millis(span / 8),
            _ => 0,
        };
        let latest = now.saturating_add(millis(JUMP)).saturating_add(ahead);
        if used > latest {
            self.used.store(now, Ordering::Relaxed);
        }
        used > latest
    }
}

fn progress_of(state: &State, gone: bool) -> Progress {
    Progress {
        tail: Offset::new(state.tail),
        closed: state.closed,
        gone: gone || state.hidden,
    }
}

#[derive(Default)]
struct Shard {
    streams: HashMap<StreamName, Arc<Stream>>,
    /// The order in which the streams are considered for eviction.
    turn: VecDeque<StreamName>,
}

/// The streams in memory, by name.
///
/// A missing stream is read while its shard is locked, so that two copies never exist. A stream is
/// evicted only if nothing else holds it. A shard's lock is held for at most one read from the
/// disk.
pub(crate) struct Cache {
    /// The identity from which incarnations are derived.
    pub(crate) identity: Identity,
    shards: Vec<Mutex<Shard>>,
    most: usize,
    names: Mutex<HashMap<u64, StreamName>>,
}

impl Cache {
    pub(crate) fn new(most: usize, identity: Identity) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            identity,
            shards,
            most: most.div_ceil(SHARDS).max(1),
            names: Mutex::default(),
        }
    }

    fn shard(&self, name: &StreamName) -> &Mutex<Shard> {
        let hash = xxh3_64(name.as_str().as_bytes());
        &self.shards[usize::from(hash.to_le_bytes()[0]) % SHARDS]
    }

    /// Returns the stream of this name, if it is in memory.
    pub(crate) fn peek(&self, name: &StreamName) -> Option<Arc<Stream>> {
        let shard = self.shard(name).lock();
        let stream = shard.streams.get(name)?;
        stream.hot.store(true, Ordering::Relaxed);
        Some(Arc::clone(stream))
    }

    /// Returns the stream of this name from memory or from the disk, even if it is hidden.
    pub(crate) fn load(
        &self,
        store: &Store,
        name: &StreamName,
    ) -> Result<Option<Arc<Stream>>, Error> {
        // A fork's source is loaded before the fork's shard is locked, because both may be in the
        // same shard. The source can't change meanwhile, because its name is kept for as long as it
        // has forks.
        loop {
            if let Some(stream) = self.peek(name) {
                return Ok(Some(stream));
            }
            let Some(id) = store.id_of(name)? else {
                return Ok(None);
            };
            let Some(birth) = store.birth(id)? else {
                if store.id_of(name)? == Some(id) {
                    return Err(Error::damaged(format!("stream {id} has no settings")));
                }
                continue;
            };
            let source = match &birth.fork {
                Some(fork) => match self.load(store, &fork.point.source)? {
                    Some(source) if source.id == fork.id => Some(source),
                    _ if store.id_of(name)? != Some(id) => continue,
                    _ => return Err(Error::damaged(format!("stream {id} lacks its source"))),
                },
                None => None,
            };
            let mut shard = self.shard(name).lock();
            if let Some(stream) = shard.streams.get(name) {
                return Ok(Some(Arc::clone(stream)));
            }
            if store.id_of(name)? != Some(id) {
                continue;
            }
            let Some(state) = store.state(id)? else {
                return Err(Error::damaged(format!("stream {id} has no state")));
            };
            let partings = store.partings(id)?;
            let stream = Stream::new(self.identity, id, birth, state, source, &partings);
            let stream = Arc::new(stream);
            self.insert(&mut shard, Arc::clone(&stream));
            return Ok(Some(stream));
        }
    }

    /// Returns the stream with this id from memory or from the disk, even if it is hidden.
    pub(crate) fn load_by_id(&self, store: &Store, id: u64) -> Result<Option<Arc<Stream>>, Error> {
        let name = self.names.lock().get(&id).cloned();
        let name = match name {
            Some(name) => name,
            None => match store.birth(id)? {
                Some(birth) => birth.name,
                None => return Ok(None),
            },
        };
        Ok(self.load(store, &name)?.filter(|stream| stream.id == id))
    }

    /// Returns the name of the stream with this id.
    pub(crate) fn name_of(&self, store: &Store, id: u64) -> Result<Option<StreamName>, Error> {
        if let Some(name) = self.names.lock().get(&id) {
            return Ok(Some(name.clone()));
        }
        Ok(store.birth(id)?.map(|birth| birth.name))
    }

    /// Adds a created stream. If it was loaded since its commit, the loaded one stays.
    pub(crate) fn add(&self, stream: Arc<Stream>) -> Arc<Stream> {
        let mut shard = self.shard(stream.name()).lock();
        match shard.streams.get(stream.name()) {
            Some(there) if there.id == stream.id => Arc::clone(there),
            _ => {
                self.insert(&mut shard, Arc::clone(&stream));
                stream
            }
        }
    }

    fn insert(&self, shard: &mut Shard, stream: Arc<Stream>) {
        let name = stream.name().clone();
        let mut names = self.names.lock();
        names.insert(stream.id, name.clone());
        match shard.streams.insert(name.clone(), stream) {
            Some(old) => drop(names.remove(&old.id)),
            None => shard.turn.push_back(name),
        }
        if shard.turn.len() > 2 * self.most + SHARDS {
            // The queue has stale names of streams that were evicted and loaded again.
            shard.turn = shard.streams.keys().cloned().collect();
        }
        // The work is bounded: an insertion considers at most eight streams for eviction.
        for _ in 0..8 {
            if shard.streams.len() <= self.most {
                break;
            }
            let Some(name) = shard.turn.pop_front() else {
                break;
            };
            let Some(stream) = shard.streams.get(&name) else {
                continue;
            };
            let in_use = Arc::strong_count(stream) > 1
                || stream.progress.receiver_count() > 0
                || stream.hot.swap(false, Ordering::Relaxed);
            if in_use {
                shard.turn.push_back(name);
            } else if let Some(stream) = shard.streams.remove(&name) {
                names.remove(&stream.id);
            }
        }
    }

    /// Removes a stream that has ended.
    pub(crate) fn remove(&self, stream: &Stream) {
        let mut shard = self.shard(stream.name()).lock();
        if shard
            .streams
            .get(stream.name())
            .is_some_and(|there| there.id == stream.id)
        {
            shard.streams.remove(stream.name());
            // `turn` may still contain the name. It is skipped when its turn comes.
            self.names.lock().remove(&stream.id);
        }
    }

    /// Returns all streams in memory.
    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().streams.values().cloned());
        }
        all
    }
}

/// Checks that a stream can be used now: not removed, not hidden, not expired. `now` is called only
/// for a stream that expires.
pub(crate) fn usable(stream: &Stream, now: impl FnOnce() -> u64) -> Result<(), Error> {
    if stream.has_ended() {
        return Err(Kind::NotFound.into());
    }
    let state = stream.state.lock();
    if state.restoring {
        return Err(Kind::Restoring.into());
    }
    if state.hidden {
        return Err(Kind::Gone.into());
    }
    if stream.expires().is_some_and(|end| end.0 <= now()) {
        return Err(if state.forks > 0 {
            Kind::Gone
        } else {
            Kind::NotFound
        }
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Append, Create, DiskLog, DiskOptions, Log, Settings};

    #[tokio::test]
    async fn small_records_count_with_the_memory_around_them() {
        let folder = tempfile::tempdir().unwrap();
        let options = DiskOptions {
            recent_bytes: 64 << 10,
            ..DiskOptions::default()
        };
        let log = DiskLog::open(folder.path(), options).unwrap();
        let name: StreamName = "small".parse().unwrap();
        let create = Create::new(Settings::of_type("application/json"));
        log.create(&name, create).await.unwrap();
        for _ in 0..1000 {
            let append = Append::new(vec![bytes::Bytes::from_static(b"1")]);
            log.append(&name, append).await.unwrap();
        }
        let stream = log.engine.cache.peek(&name).unwrap();
        let kept = stream.recent().0.lock().len();
        assert!(kept > 0 && kept * size_of::<Record>() <= 64 << 10, "{kept}");
    }

    /// The writer lists where records are kept until newer ones fill the memory for them, which may be
    /// long after their streams have left it.
    #[test]
    fn a_list_of_records_holds_little_memory_besides_them() {
        assert!(size_of::<Recent>() + 2 * size_of::<usize>() <= 64);
    }
}
