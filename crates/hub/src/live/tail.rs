use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicUsize},
    time::Duration,
};

use headwater_log::{Error, Expiry, Follower, Info, Log, Offset, ReadFrom, StreamName};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::{
    frames::Shape,
    ring::{Batch, Given, Over, Ring},
};
use crate::limits::{BATCH_BYTES, RING_IDLE};

/// How often a stream that is followed is said to be in use: no oftener and no more seldom than this.
const TOUCH: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3600));

/// The tails of all streams that are followed.
#[derive(Default)]
pub(crate) struct Tails {
    /// By the stream's number, which no stream after it has. An entry goes with its tail.
    by_stream: Mutex<HashMap<u64, Weak<Tail>>>,
    /// What all rings cost.
    total: Arc<AtomicUsize>,
}

impl Tails {
    /// The tail of a stream, made if there is none.
    ///
    /// # Errors
    /// The stream is no longer there.
    pub(crate) async fn of(
        self: &Arc<Self>,
        log: &Arc<dyn Log>,
        info: &Info,
        most_in_all: usize,
    ) -> Result<Arc<Tail>, Error> {
        let known = self.lock().get(&info.id).and_then(Weak::upgrade);
        if let Some(tail) = known.filter(|tail| tail.is_usable()) {
            return Ok(tail);
        }
        let follower = log.follow(&info.name).await?;
        // Let go of after the lock: whoever is the last to hold a tail takes it.
        let known;
        let mut streams = self.lock();
        known = streams.get(&info.id).and_then(Weak::upgrade);
        if let Some(tail) = known.as_ref().filter(|tail| tail.is_usable()) {
            return Ok(Arc::clone(tail));
        }
        let ring = Ring::new(
            follower.clone().progress().tail,
            Arc::clone(&self.total),
            most_in_all,
        );
        let shared = Arc::new(Shared {
            name: info.name.clone(),
            shape: Shape::of(&info.settings.content_type),
            log: Arc::clone(log),
            follower,
            ring: Mutex::new(ring),
            changes: watch::Sender::new(()),
        });
        let idle = match info.settings.expiry {
            Some(Expiry::Idle(span)) => Some(span),
            _ => None,
        };
        let task = tokio::spawn(pump(Arc::clone(&shared), info.id, idle)).abort_handle();
        let tail = Arc::new(Tail {
            shared,
            task,
            stream: info.id,
            tails: Arc::clone(self),
        });
        streams.insert(info.id, Arc::downgrade(&tail));
        Ok(tail)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<Tail>>> {
        self.by_stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest messages of a stream, for those who follow it. It goes with the last of them.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    task: AbortHandle,
    stream: u64,
    tails: Arc<Tails>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
        let mut streams = self.tails.lock();
        // Somebody may have made another one since the last reader let go of this.
        if streams
            .get(&self.stream)
            .is_some_and(|tail| tail.strong_count() == 0)
        {
            streams.remove(&self.stream);
        }
    }
}

impl Tail {
    /// Whether it can go on. If not, its readers are told so, and the next one tries again with a new tail.
    fn is_usable(&self) -> bool {
        !self.shared.ring().has_failed()
    }

    /// What a reader that wants what follows `from` is given.
    pub(crate) fn give(&self, from: Offset) -> Given {
        self.shared.ring().give(from)
    }

    /// Wakes whenever [`give`](Self::give) may say something else.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.changes.subscribe()
    }

    /// Whether the stream is gone: what is read under its name may then be another's.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.follower.clone().progress().gone
    }
}

struct Shared {
    name: StreamName,
    shape: Shape,
    log: Arc<dyn Log>,
    follower: Follower,
    ring: Mutex<Ring>,
    changes: watch::Sender<()>,
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Ring)) {
        change(&mut self.ring());
        self.changes.send_replace(());
    }
}

/// Moves what is appended to a stream into its ring, until there will be no more.
async fn pump(shared: Arc<Shared>, stream: u64, idle: Option<Duration>) {
    // However it ends, nobody is left to wait for it.
    let mut ending = Ending {
        shared: &shared,
        over: Over::Failed,
    };
    ending.over = match follow(&shared, stream, idle).await {
        Ok(over) => over,
        Err(error) if error.is_not_found() || error.is_gone() => Over::Gone,
        Err(error) => {
            tracing::error!(stream = %shared.name, %error, "a followed stream can't be read");
            Over::Failed
        }
    };
}

/// Tells the readers that nothing follows, when it is dropped.
struct Ending<'a> {
    shared: &'a Shared,
    over: Over,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.shared.change(|ring| ring.end(self.over));
    }
}

async fn follow(shared: &Shared, stream: u64, idle: Option<Duration>) -> Result<Over, Error> {
    let mut follower = shared.follower.clone();
    let mut next = follower.progress().tail;
    shared.change(|ring| ring.skip_to(next));
    // Another stream may have taken the name since this one was looked up.
    if shared.log.info(&shared.name).await?.id != stream {
        return Ok(Over::Gone);
    }
    // A stream that ends when it is not used is in use as long as it is followed.
    let touch_every = idle.map(|span| (span / 3).clamp(TOUCH.0, TOUCH.1));
    let mut touch_at = touch_every.map(|every| Instant::now() + every);
    let mut filled_at = Instant::now();
    loop {
        let clear_at = (!shared.ring().is_empty()).then(|| filled_at + RING_IDLE);
        let progress = match touch_at.into_iter().chain(clear_at).min() {
            Some(until) => timeout_at(until, follower.past(next)).await.ok(),
            None => Some(follower.past(next).await),
        };
        if let (Some(at), Some(every)) = (touch_at, touch_every)
            && at <= Instant::now()
        {
            shared.log.touch(&shared.name).await?;
            touch_at = Some(Instant::now() + every);
        }
        let Some(progress) = progress else {
            if clear_at.is_some_and(|at| at <= Instant::now()) {
                shared.ring().clear();
            }
            continue;
        };
        if progress.gone {
            return Ok(Over::Gone);
        }
        if progress.tail <= next {
            return Ok(Over::Closed);
        }
        let chunk = match shared
            .log
            .read(&shared.name, ReadFrom::At(next), BATCH_BYTES)
            .await
        {
            Ok(chunk) => chunk,
            // Its readers find out by themselves.
            Err(error) if error.is_trimmed() => {
                next = error.floor().unwrap_or(progress.tail);
                shared.change(|ring| ring.skip_to(next));
                continue;
            }
            Err(error) => return Err(error),
        };
        if follower.progress().gone {
            return Ok(Over::Gone);
        }
        if chunk.messages.is_empty() {
            continue;
        }
        let is_end = chunk.at_tail && chunk.closed;
        next = chunk.next;
        filled_at = Instant::now();
        let batch = Batch::new(
            chunk.from,
            next,
            chunk.messages,
            shared.shape,
            chunk.at_tail,
        );
        shared.change(|ring| {
            ring.push(batch);
            if is_end {
                ring.end(Over::Closed);
            }
        });
        if is_end {
            return Ok(Over::Closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_log::{Append, Create, MemoryLog, Settings};

    use super::*;

    async fn stream(log: &Arc<dyn Log>) -> Info {
        let name = StreamName::new("a").unwrap();
        let create = Create::new(Settings::of_type("text/plain"));
        log.create(&name, create).await.unwrap().info
    }

    #[tokio::test]
    async fn a_tail_is_shared_and_goes_with_the_last_who_holds_it() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let info = stream(&log).await;
        let one = tails.of(&log, &info, usize::MAX).await.unwrap();
        let two = tails.of(&log, &info, usize::MAX).await.unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        drop(one);
        assert_eq!(tails.lock().len(), 1);
        drop(two);
        assert_eq!(tails.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_keeps_to_its_bounds_and_is_empty_when_nothing_happens() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let info = stream(&log).await;
        let tail = tails.of(&log, &info, 100_000).await.unwrap();
        let mut changes = tail.changes();
        for _ in 0..10 {
            changes.mark_unchanged();
            let messages = vec![Bytes::from(vec![b'x'; 30_000])];
            log.append(&info.name, Append::new(messages)).await.unwrap();
            changes.changed().await.unwrap();
            let total = tails.total.load(std::sync::atomic::Ordering::Relaxed);
            assert!(total <= 100_000, "{total}");
        }
        assert!(matches!(tail.give(Offset::START), Given::Behind));
        assert!(matches!(tail.give(Offset::new(9)), Given::Batch(..)));
        assert!(matches!(tail.give(Offset::new(10)), Given::Wait));
        tokio::time::sleep(2 * RING_IDLE).await;
        assert_eq!(tails.total.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(matches!(tail.give(Offset::new(9)), Given::Behind));
    }

    #[tokio::test]
    async fn a_tail_that_failed_makes_room_for_another() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let info = stream(&log).await;
        let failed = tails.of(&log, &info, usize::MAX).await.unwrap();
        failed.shared.change(|ring| ring.end(Over::Failed));
        let new = tails.of(&log, &info, usize::MAX).await.unwrap();
        assert!(!Arc::ptr_eq(&failed, &new));
        drop(failed);
        let same = tails.of(&log, &info, usize::MAX).await.unwrap();
        assert!(
            Arc::ptr_eq(&same, &new),
            "the end of the first is not that of the second"
        );
    }

    #[tokio::test]
    async fn another_stream_of_the_name_is_not_taken_for_the_one_that_was_meant() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let old = stream(&log).await;
        log.delete(&old.name).await.unwrap();
        stream(&log).await;
        let tail = tails.of(&log, &old, usize::MAX).await.unwrap();
        let mut changes = tail.changes();
        while !matches!(tail.give(Offset::START), Given::Over(Over::Gone)) {
            changes.changed().await.unwrap();
        }
    }
}
