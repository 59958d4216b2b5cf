//! The task that runs one ingest job.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use headwater::{Problem, StatusCode};
use headwater_log::{Expiry, Info, Published, StreamName};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Inner, OwnRecord, RunningJob, Source, StopReason,
    outcome::JobOutcome,
    recovery_record::RecoveryRecord,
    watchers::Watchers,
    writer::{WriteLoss, Writer},
};
use crate::{
    limits::{INGEST_BYTES, INGEST_MESSAGES, INGEST_TOUCH},
    permits::Permit,
};

/// A running job. It is registered as running until this is dropped.
pub(super) struct Task {
    shared: Arc<Inner>,
    name: StreamName,
    running: Arc<RunningJob>,
    stop: watch::Receiver<Option<StopReason>>,
    writer: Writer,
    /// Interval between `touch` calls for the stream.
    touch: Option<Duration>,
    record: RecoveryRecord,
    /// Released when the record is removed.
    _marking: OwnRecord,
    _place: Permit,
}

impl Task {
    /// Registers a job. `life` is the number of processes that ran the job before.
    pub(super) fn new(
        shared: &Arc<Inner>,
        info: &Info,
        record: RecoveryRecord,
        own_record: OwnRecord,
        life: u64,
        place: Permit,
    ) -> Self {
        let (sender, stop) = watch::channel(None);
        let keep_for = record.record.keep_for();
        let running = Arc::new(RunningJob {
            id: info.id,
            stop: sender,
            watchers: keep_for.map(|time| Arc::new(Watchers::new(time))),
        });
        {
            let mut all = shared.running.lock();
            if shared.is_stopped() {
                running.end(StopReason::Interrupted);
            }
            all.insert(info.name.clone(), Arc::clone(&running));
        }
        let touch = match info.settings.expiry {
            Some(Expiry::Idle(span)) => Some((span / 3).clamp(INGEST_TOUCH.0, INGEST_TOUCH.1)),
            _ => None,
        };
        Self {
            writer: Writer::new(Arc::clone(&shared.log), info, life),
            shared: Arc::clone(shared),
            name: info.name.clone(),
            running,
            stop,
            touch,
            record,
            _marking: own_record,
            _place: place,
        }
    }

    /// Has the job superseded if earlier epochs have appended anything else to its stream.
    pub(super) fn continuing(mut self, published: Published) -> Self {
        self.writer.continues(published);
        self
    }

    /// Fills the stream from the source that `make` returns, until the source or the job ends.
    pub(super) async fn run(mut self, make: impl FnOnce() -> Source + Send) {
        let (source, made) = match headwater::catch(make) {
            Ok(source) => (Some(source), None),
            Err(problem) => {
                tracing::error!(?problem, "a job that fills a stream failed");
                (None, Some(JobOutcome::Failed(problem)))
            }
        };
        let mut buffer = SourceBuffer {
            source,
            pending: Pending::default(),
            end: made,
        };
        let lost = self.buffer(&mut buffer).await;
        buffer.drop_source();
        let is_closed = match lost {
            Ok(is_closed) => is_closed,
            Err(WriteLoss::Over) => true,
            Err(WriteLoss::LogClosed | WriteLoss::Superseded) => false,
            Err(WriteLoss::Failed(problem)) => self.fail(problem).await,
        };
        // Before the record is removed, which takes a moment: the job doesn't run any more.
        self.leave();
        if is_closed {
            self.record.remove(&*self.shared.log).await;
        }
    }

    /// Moves the source's items into the stream. Returns `true` if the stream is closed afterwards,
    /// `false` if the job is to be resumed.
    async fn buffer(&mut self, buffer: &mut SourceBuffer) -> Result<bool, WriteLoss> {
        let Self {
            shared,
            name,
            running,
            stop,
            writer,
            touch,
            record,
            ..
        } = self;
        let can_resume = record.record.resume.is_some();
        let mut unwatched = std::pin::pin!(async {
            match &running.watchers {
                Some(watchers) => watchers.unwatched().await,
                None => std::future::pending().await,
            }
        });
        let mut used = Instant::now();
        loop {
            // A source that is always ready must not starve other tasks.
            tokio::task::consume_budget().await;
            let end = buffer.end.take();
            let messages = buffer.pending.take();
            let is_end = end.is_some();
            let is_idle = !is_end && messages.is_empty();
            // The stream of a job that will be resumed stays open.
            let is_suspended =
                can_resume && matches!(end, Some(JobOutcome::Stopped(StopReason::Interrupted)));
            let mut append = std::pin::pin!(async {
                match &end {
                    _ if is_idle => std::future::pending().await,
                    _ if is_suspended && messages.is_empty() => Ok(()),
                    _ if is_suspended => writer.append(messages, None).await,
                    end => writer.append(messages, end.as_ref()).await,
                }
            });
            loop {
                let touch_at = touch.map(|every| used + every);
                let is_open = !is_end && buffer.end.is_none();
                tokio::select! {
                    biased;
                    why = stopped(stop), if is_open => buffer.finish(JobOutcome::Stopped(why)),
                    () = &mut unwatched, if is_open => buffer.finish(JobOutcome::Unwatched),
                    appended = &mut append => {
                        appended?;
                        if is_end {
                            return Ok(!is_suspended);
                        }
                        used = Instant::now();
                        break;
                    }
                    () = buffer.gather(), if !is_end && buffer.wants_more() => {}
                    () = sleep_until(touch_at.unwrap_or(used)), if touch_at.is_some() => {
                        used = Instant::now();
                        // If the stream is gone, the next append finds out.
                        let _ = shared.log.touch(name).await;
                    }
                }
                if is_idle && buffer.has_any() {
                    break;
                }
            }
        }
    }

    /// Closes a stream to which the last items could not be appended.
    async fn fail(&mut self, problem: Problem) -> bool {
        let end = JobOutcome::Failed(problem);
        match self.writer.append(Vec::new(), Some(&end)).await {
            Ok(()) | Err(WriteLoss::Over) => true,
            Err(WriteLoss::LogClosed | WriteLoss::Superseded) => false,
            Err(WriteLoss::Failed(problem)) => {
                let stream = &self.name;
                tracing::error!(%stream, %problem, "a filled stream can't be closed; the next start will do it");
                false
            }
        }
    }

    /// Removes the job from the running ones.
    fn leave(&self) {
        let mut all = self.shared.running.lock();
        if all
            .get(&self.name)
            .is_some_and(|known| Arc::ptr_eq(known, &self.running))
        {
            all.remove(&self.name);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Waits until a stop is requested.
async fn stopped(stop: &mut watch::Receiver<Option<StopReason>>) -> StopReason {
    let why = stop.wait_for(Option::is_some).await;
    // The caller holds the sender.
    why.ok()
        .and_then(|why| *why)
        .unwrap_or(StopReason::Interrupted)
}

/// A source, and its items and end that aren't on their way to the log yet.
struct SourceBuffer {
    source: Option<Source>,
    pending: Pending,
    end: Option<JobOutcome>,
}

impl SourceBuffer {
    fn wants_more(&self) -> bool {
        self.source.is_some() && self.pending.has_room()
    }

    /// Returns `true` if there is anything to append, or an end.
    fn has_any(&self) -> bool {
        self.end.is_some() || !self.pending.items.is_empty()
    }

    /// Collects the source's ready items, up to the bound. Waits until there is at least one.
    async fn gather(&mut self) {
        poll_fn(|cx| self.poll_gather(cx)).await;
    }

    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut has_come = false;
        while self.pending.has_room()
            && let Some(source) = &mut self.source
        {
            match poll_next(source.as_mut(), cx) {
                Poll::Pending if has_come => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(item)) => {
                    self.pending.push(item);
                    has_come = true;
                }
                Poll::Ready(Err(end)) => self.finish(end),
            }
        }
        Poll::Ready(())
    }

    /// Ends the reading of the source.
    fn finish(&mut self, end: JobOutcome) {
        if let JobOutcome::Failed(problem) = &end
            && problem.status() == StatusCode::INTERNAL_SERVER_ERROR
        {
            tracing::error!(?problem, "a job that fills a stream failed");
        }
        self.end = Some(end);
        self.drop_source();
    }

    fn drop_source(&mut self) {
        let source = self.source.take();
        // A panic in the source's destructor doesn't fail the job.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(source)));
    }
}

/// Returns the source's next item, or the outcome if it ended.
fn poll_next(
    source: Pin<&mut (dyn futures_core::Stream<Item = Result<Bytes, Problem>> + Send)>,
    cx: &mut Context<'_>,
) -> Poll<Result<Bytes, JobOutcome>> {
    // A source that panicked is not polled again.
    match headwater::catch(|| source.poll_next(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Some(Ok(item)))) => Poll::Ready(Ok(item)),
        Ok(Poll::Ready(Some(Err(problem)))) => Poll::Ready(Err(JobOutcome::Failed(problem))),
        Ok(Poll::Ready(None)) => Poll::Ready(Err(JobOutcome::Complete)),
        Err(problem) => Poll::Ready(Err(JobOutcome::Failed(problem))),
    }
}

/// Items that are collected for the next append.
#[derive(Default)]
struct Pending {
    items: Vec<Bytes>,
    bytes: usize,
}

impl Pending {
    fn has_room(&self) -> bool {
        self.bytes < INGEST_BYTES && self.items.len() < INGEST_MESSAGES
    }

    fn push(&mut self, item: Bytes) {
        self.bytes += item.len();
        self.items.push(item);
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}
