use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::AtomicUsize},
    time::Duration,
};

use futures_util::FutureExt as _;
use headwater_log::{Error, Expiry, Follower, Info, Lineage, Log, Offset, ReadFrom, StreamName};
use parking_lot::Mutex;
use tokio::{
    task::{AbortHandle, yield_now},
    time::{Instant, timeout_at},
};

use super::{
    encode::Shape,
    ring::{EndReason, ReadOutcome, Ring},
};
use crate::{
    fanout::{
        described,
        near::{Ending, Near},
        wake_queue::Ticket,
    },
    limits::{BATCH_BYTES, RING_IDLE},
};

/// Minimum and maximum interval between `touch` calls for a followed stream.
const TOUCH: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3600));

/// The tails of all followed streams.
#[derive(Default)]
pub(crate) struct Tails {
    /// By the stream's number, which is never reused. An entry is removed with its tail.
    by_stream: Mutex<HashMap<u64, Weak<Tail>>>,
    /// The cost of all rings.
    total: Arc<AtomicUsize>,
}

impl Tails {
    /// Returns the tail of a stream. Starts it if there is none.
    ///
    /// # Errors
    /// The stream doesn't exist any more.
    pub(crate) async fn of(
        self: &Arc<Self>,
        log: &Arc<dyn Log>,
        info: &Info,
        most_in_all: usize,
    ) -> Result<Arc<Tail>, Error> {
        let known = self.by_stream.lock().get(&info.id).and_then(Weak::upgrade);
        if let Some(tail) = known.filter(|tail| tail.is_usable()) {
            return Ok(tail);
        }
        let follower = log.follow(&info.name).await?;
        // Dropped after the lock is released, as dropping the last reference acquires it.
        let known;
        let mut streams = self.by_stream.lock();
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
            lineage: info.lineage.clone(),
            log: Arc::clone(log),
            follower,
            near: Near::new(ring),
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
}

/// The newest messages of a stream, shared by its readers. It ends with the last of them.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    task: AbortHandle,
    stream: u64,
    tails: Arc<Tails>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
        let mut streams = self.tails.by_stream.lock();
        // Another tail may have been started since the last reader released this one.
        if streams
            .get(&self.stream)
            .is_some_and(|tail| tail.strong_count() == 0)
        {
            streams.remove(&self.stream);
        }
    }
}

impl Tail {
    /// Returns `true` if the tail can continue. If not, its readers receive an error, and the next
    /// reader starts a new tail.
    fn is_usable(&self) -> bool {
        !self.shared.near.lock().ring.has_failed()
    }

    /// Looks up the messages after `from`.
    pub(crate) fn give(&self, from: Offset) -> ReadOutcome {
        self.shared.near.lock().ring.give(from)
    }

    /// Waits until a lookup of the messages after `from` isn't [`ReadOutcome::Wait`]. Cancel-safe.
    pub(crate) async fn given(&self, from: Offset) -> ReadOutcome {
        let mut place = Place {
            tail: self,
            ticket: Ticket::default(),
        };
        let near = &self.shared.near;
        near.wait(&mut place.ticket, |near| match near.ring.give(from) {
            ReadOutcome::Wait => None,
            given => Some(given),
        })
        .await
    }

    /// Returns `true` if the stream is closed, and no messages follow `from`.
    pub(crate) fn ends_at(&self, from: Offset) -> bool {
        let progress = self.shared.follower.clone().progress();
        progress.closed && progress.tail <= from
    }

    /// Returns `true` if the stream is gone. Messages that are read under its name may then belong
    /// to another one.
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.follower.clone().progress().gone
    }
}

/// A reader's place in the wake queue, left on drop.
struct Place<'a> {
    tail: &'a Tail,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.tail.shared.near.leave(&mut self.ticket);
    }
}

struct Shared {
    name: StreamName,
    shape: Shape,
    lineage: Lineage,
    log: Arc<dyn Log>,
    follower: Follower,
    near: Near<Ring>,
}

/// Moves appended messages into the ring until the stream is closed, is gone or fails.
async fn pump(shared: Arc<Shared>, stream: u64, idle: Option<Duration>) {
    let mut ending = Ending {
        near: &shared.near,
        end: Ring::end,
        over: EndReason::Failed,
    };
    ending.over = match follow(&shared, stream, idle).await {
        Ok(over) => over,
        Err(error) if error.is_not_found() || error.is_gone() => EndReason::Gone,
        Err(error) => {
            tracing::error!(stream = %shared.name, %error, "a followed stream can't be read");
            EndReason::Failed
        }
    };
}

async fn follow(shared: &Shared, stream: u64, idle: Option<Duration>) -> Result<EndReason, Error> {
    let mut follower = shared.follower.clone();
    let mut next = follower.progress().tail;
    shared.near.change(|ring| ring.skip_to(next));
    // Another stream may have this name since the lookup.
    if described(&*shared.log, &shared.name).await?.id != stream {
        return Ok(EndReason::Gone);
    }
    // Following a stream counts as use of it for an idle expiry.
    let touch_every = idle.map(|span| (span / 3).clamp(TOUCH.0, TOUCH.1));
    let mut touch_at = touch_every.map(|every| Instant::now() + every);
    let mut filled_at = Instant::now();
    loop {
        let is_due = shared.near.wake_batch();
        let clear_at = (!shared.near.lock().ring.is_empty()).then(|| filled_at + RING_IDLE);
        let progress = if is_due {
            // Appends and the readers that were woken get their turn.
            yield_now().await;
            follower.past(next).now_or_never()
        } else {
            match touch_at.into_iter().chain(clear_at).min() {
                Some(until) => timeout_at(until, follower.past(next)).await.ok(),
                None => Some(follower.past(next).await),
            }
        };
        if let (Some(at), Some(every)) = (touch_at, touch_every)
            && at <= Instant::now()
        {
            shared.log.touch(&shared.name).await?;
            touch_at = Some(Instant::now() + every);
        }
        let Some(progress) = progress else {
            if clear_at.is_some_and(|at| at <= Instant::now()) {
                shared.near.lock().ring.clear();
            }
            continue;
        };
        if progress.gone {
            return Ok(EndReason::Gone);
        }
        if progress.tail <= next {
            return Ok(EndReason::Closed);
        }
        let chunk = match shared
            .log
            .read(&shared.name, ReadFrom::At(next), BATCH_BYTES)
            .await
        {
            Ok(chunk) => chunk,
            // Readers detect the gap by themselves.
            Err(error) if error.is_trimmed() => {
                next = error.floor().map_or(progress.tail, |floor| floor.at);
                shared.near.change(|ring| ring.skip_to(next));
                continue;
            }
            Err(error) => return Err(error),
        };
        if follower.progress().gone || chunk.lineage != shared.lineage {
            return Ok(EndReason::Gone);
        }
        if chunk.is_empty() {
            continue;
        }
        let is_end = chunk.at_tail && chunk.closed;
        next = chunk.next;
        filled_at = Instant::now();
        shared.near.change(|ring| {
            ring.push_all(&chunk, shared.shape);
            if is_end {
                ring.end(EndReason::Closed);
            }
        });
        if is_end {
            return Ok(EndReason::Closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_log::{Append, Create, MemoryLog, Settings};

    use super::*;
    use crate::{fanout::stream::encode::End, limits::WOKEN_AT_ONCE};

    async fn stream(log: &Arc<dyn Log>) -> Info {
        let name = StreamName::new("a").unwrap();
        let create = Create::new(Settings::of_type("text/plain"));
        log.create(&name, create).await.unwrap().info
    }

    #[tokio::test]
    async fn a_tail_is_shared_and_ends_with_its_last_reader() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let info = stream(&log).await;
        let one = tails.of(&log, &info, usize::MAX).await.unwrap();
        let two = tails.of(&log, &info, usize::MAX).await.unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        drop(one);
        assert_eq!(tails.by_stream.lock().len(), 1);
        drop(two);
        assert_eq!(tails.by_stream.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_keeps_to_its_bounds_and_is_emptied_when_idle() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let info = stream(&log).await;
        let tail = tails.of(&log, &info, 100_000).await.unwrap();
        for n in 0..10 {
            let messages = vec![Bytes::from(vec![b'x'; 30_000])];
            log.append(&info.name, Append::new(messages)).await.unwrap();
            let given = tail.given(Offset::new(n)).await;
            // Messages that existed when the pump started aren't in the ring.
            assert!(n == 0 || matches!(given, ReadOutcome::Batch(..)));
            let total = tails.total.load(std::sync::atomic::Ordering::Relaxed);
            assert!(total <= 100_000, "{total}");
        }
        assert!(matches!(tail.give(Offset::START), ReadOutcome::Behind));
        assert!(matches!(tail.give(Offset::new(9)), ReadOutcome::Batch(..)));
        assert!(matches!(tail.give(Offset::new(10)), ReadOutcome::Wait));
        tokio::time::sleep(2 * RING_IDLE).await;
        assert_eq!(tails.total.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(matches!(tail.give(Offset::new(9)), ReadOutcome::Behind));
    }

    /// A reader that was woken and isn't polled is not woken again, and the others receive their
    /// messages.
    #[tokio::test]
    async fn readers_that_are_not_polled_do_not_delay_others() {
        const READERS: usize = 3 * WOKEN_AT_ONCE;
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let info = stream(&log).await;
        let tail = tails.of(&log, &info, usize::MAX).await.unwrap();
        let mut asleep: Vec<_> = (0..READERS)
            .map(|_| Box::pin(tail.given(Offset::START)))
            .collect();
        for reader in &mut asleep {
            assert!(reader.now_or_never().is_none());
        }
        for n in 0..3 {
            let awake = (0..READERS).map(|_| tail.given(Offset::new(n)));
            let awake = futures_util::future::join_all(awake);
            let append = async {
                yield_now().await;
                let append = Append::new(vec!["x".into()]);
                log.append(&info.name, append).await.unwrap();
            };
            let (given, ()) = tokio::join!(awake, append);
            let next = |given: &ReadOutcome| match given {
                ReadOutcome::Batch(batch, End::Tail) => batch.next.number() == n + 1,
                _ => false,
            };
            // Messages that existed when the pump started aren't in the ring.
            assert!(n == 0 || given.iter().all(next), "{n}");
        }
        assert_eq!(tail.shared.near.lock().wake_queue.len(), 0);
        drop(asleep);
        // A reader that is dropped while it waits leaves nothing behind.
        let mut waits = Box::pin(tail.given(Offset::new(3)));
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(tail.shared.near.lock().wake_queue.len(), 1);
        drop(waits);
        assert_eq!(tail.shared.near.lock().wake_queue.len(), 0);
    }

    #[tokio::test]
    async fn a_failed_tail_is_replaced() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let info = stream(&log).await;
        let failed = tails.of(&log, &info, usize::MAX).await.unwrap();
        failed
            .shared
            .near
            .change(|ring| ring.end(EndReason::Failed));
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
    async fn a_new_stream_of_the_same_name_is_not_mistaken_for_the_old_one() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let tails = Arc::new(Tails::default());
        let old = stream(&log).await;
        log.delete(&old.name).await.unwrap();
        stream(&log).await;
        let tail = tails.of(&log, &old, usize::MAX).await.unwrap();
        let given = tail.given(Offset::START).await;
        assert!(matches!(given, ReadOutcome::Ended(EndReason::Gone)));
    }
}
