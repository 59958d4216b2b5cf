//! The task that fills one stream.

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
use headwater_log::{Expiry, Info, StreamName};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Marking, Place, Running, Shared, Source, Stop,
    end::End,
    locked,
    marker::Marker,
    presence::Presence,
    writer::{Lost, Writer},
};
use crate::limits::{FILLING_BYTES, FILLING_MESSAGES, FILLING_TOUCH};

/// A stream that is being filled, known as such until this is dropped.
pub(super) struct Task {
    shared: Arc<Shared>,
    name: StreamName,
    running: Arc<Running>,
    stop: watch::Receiver<Option<Stop>>,
    writer: Writer,
    /// How often the stream is said to be in use.
    touch: Option<Duration>,
    marker: Marker,
    /// Let go of when the marker is removed.
    _marking: Marking,
    _place: Place,
}

impl Task {
    /// Enters a stream among those that are filled. `life` is the number of the process among those that filled it.
    pub(super) fn new(
        shared: &Arc<Shared>,
        info: &Info,
        marker: Marker,
        marking: Marking,
        life: u64,
        place: Place,
    ) -> Self {
        let (sender, stop) = watch::channel(None);
        let keep_for = marker.record.keep_for();
        let running = Arc::new(Running {
            id: info.id,
            stop: sender,
            presence: keep_for.map(|time| Arc::new(Presence::new(time))),
        });
        {
            let mut all = locked(&shared.running);
            if shared.is_stopped() {
                running.end(Stop::Interrupted);
            }
            all.insert(info.name.clone(), Arc::clone(&running));
        }
        let touch = match info.settings.expiry {
            Some(Expiry::Idle(span)) => Some((span / 3).clamp(FILLING_TOUCH.0, FILLING_TOUCH.1)),
            _ => None,
        };
        Self {
            writer: Writer::new(Arc::clone(&shared.log), info, life),
            shared: Arc::clone(shared),
            name: info.name.clone(),
            running,
            stop,
            touch,
            marker,
            _marking: marking,
            _place: place,
        }
    }

    /// Fills the stream with what `make` makes, until either ends.
    pub(super) async fn run(mut self, make: impl FnOnce() -> Source + Send) {
        let (source, made) = match headwater::catch(make) {
            Ok(source) => (Some(source), None),
            Err(problem) => {
                tracing::error!(?problem, "what fills a stream failed");
                (None, Some(End::Failed(problem)))
            }
        };
        let mut pour = Pour {
            source,
            gathered: Gathered::default(),
            end: made,
        };
        let lost = self.pour(&mut pour).await;
        pour.drop_source();
        let is_closed = match lost {
            Ok(is_closed) => is_closed,
            Err(Lost::Over) => true,
            Err(Lost::LogClosed) => false,
            Err(Lost::Failed(problem)) => self.fail(problem).await,
        };
        // Before the marker goes, which takes a moment: nothing of it is under way any more.
        self.leave();
        if is_closed {
            self.marker.remove(&*self.shared.log).await;
        }
    }

    /// Moves what the source gives into the stream. Says whether the stream is closed afterwards, or is to be taken up
    /// again.
    async fn pour(&mut self, pour: &mut Pour) -> Result<bool, Lost> {
        let Self {
            shared,
            name,
            running,
            stop,
            writer,
            touch,
            marker,
            ..
        } = self;
        let can_resume = marker.record.resume.is_some();
        let mut deserted = std::pin::pin!(async {
            match &running.presence {
                Some(presence) => presence.deserted().await,
                None => std::future::pending().await,
            }
        });
        let mut used = Instant::now();
        loop {
            // A source that is always ready must not keep others from running.
            tokio::task::consume_budget().await;
            let end = pour.end.take();
            let messages = pour.gathered.take();
            let is_end = end.is_some();
            let is_idle = !is_end && messages.is_empty();
            // What is taken up again stays open.
            let is_suspended = can_resume && matches!(end, Some(End::Stopped(Stop::Interrupted)));
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
                let is_open = !is_end && pour.end.is_none();
                tokio::select! {
                    biased;
                    why = stopped(stop), if is_open => pour.finish(End::Stopped(why)),
                    () = &mut deserted, if is_open => pour.finish(End::Unwatched),
                    appended = &mut append => {
                        appended?;
                        if is_end {
                            return Ok(!is_suspended);
                        }
                        used = Instant::now();
                        break;
                    }
                    () = pour.gather(), if !is_end && pour.wants_more() => {}
                    () = sleep_until(touch_at.unwrap_or(used)), if touch_at.is_some() => {
                        used = Instant::now();
                        // Whether the stream is there is found out by the next append.
                        let _ = shared.log.touch(name).await;
                    }
                }
                if is_idle && pour.has_any() {
                    break;
                }
            }
        }
    }

    /// Closes a stream to which what came last could not be appended.
    async fn fail(&mut self, problem: Problem) -> bool {
        let end = End::Failed(problem);
        match self.writer.append(Vec::new(), Some(&end)).await {
            Ok(()) | Err(Lost::Over) => true,
            Err(Lost::LogClosed) => false,
            Err(Lost::Failed(problem)) => {
                let stream = &self.name;
                tracing::error!(%stream, %problem, "a filled stream can't be closed; the next start will do it");
                false
            }
        }
    }

    /// Is no longer known as one that is under way.
    fn leave(&self) {
        let mut all = locked(&self.shared.running);
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

/// Waits until the filling is to end.
async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    let why = stop.wait_for(Option::is_some).await;
    // The sender is held by whoever waits.
    why.ok().and_then(|why| *why).unwrap_or(Stop::Interrupted)
}

/// A source, and what has come of it that isn't on its way to the log.
struct Pour {
    source: Option<Source>,
    gathered: Gathered,
    end: Option<End>,
}

impl Pour {
    fn wants_more(&self) -> bool {
        self.source.is_some() && self.gathered.has_room()
    }

    /// Whether there is anything to be told to the log.
    fn has_any(&self) -> bool {
        self.end.is_some() || !self.gathered.items.is_empty()
    }

    /// Takes what the source has ready, as much as there is room for; waits until that is something.
    async fn gather(&mut self) {
        poll_fn(|cx| self.poll_gather(cx)).await;
    }

    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut has_come = false;
        while self.gathered.has_room()
            && let Some(source) = &mut self.source
        {
            match poll_next(source.as_mut(), cx) {
                Poll::Pending if has_come => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(item)) => {
                    self.gathered.push(item);
                    has_come = true;
                }
                Poll::Ready(Err(end)) => self.finish(end),
            }
        }
        Poll::Ready(())
    }

    /// The source is no longer needed.
    fn finish(&mut self, end: End) {
        if let End::Failed(problem) = &end
            && problem.status() == StatusCode::INTERNAL_SERVER_ERROR
        {
            tracing::error!(?problem, "what fills a stream failed");
        }
        self.end = Some(end);
        self.drop_source();
    }

    fn drop_source(&mut self) {
        let source = self.source.take();
        // What a destructor does is its own matter.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(source)));
    }
}

/// The next item of a source, or how it ended.
fn poll_next(
    source: Pin<&mut (dyn futures_core::Stream<Item = Result<Bytes, Problem>> + Send)>,
    cx: &mut Context<'_>,
) -> Poll<Result<Bytes, End>> {
    // A source that panicked is not looked at again.
    match headwater::catch(|| source.poll_next(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Some(Ok(item)))) => Poll::Ready(Ok(item)),
        Ok(Poll::Ready(Some(Err(problem)))) => Poll::Ready(Err(End::Failed(problem))),
        Ok(Poll::Ready(None)) => Poll::Ready(Err(End::Complete)),
        Err(problem) => Poll::Ready(Err(End::Failed(problem))),
    }
}

/// Items that wait to be appended together.
#[derive(Default)]
struct Gathered {
    items: Vec<Bytes>,
    bytes: usize,
}

impl Gathered {
    fn has_room(&self) -> bool {
        self.bytes < FILLING_BYTES && self.items.len() < FILLING_MESSAGES
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
