//! Futures that are polled only after they were woken.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// A future that its task polls only after it was woken, and not whenever the task runs.
///
/// A task polls all that it waits for when one of them is ready. A poll of a cancellation token takes
/// locks that all tasks with the token share, so it would have every connection and every reader wait for
/// each other.
pub(crate) struct OnWake<F> {
    future: F,
    gate: Arc<Gate>,
}

struct Gate {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the task is woken, which then finds it set.
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> OnWake<F> {
    pub(crate) fn new(future: F) -> Self {
        let gate = Gate {
            is_woken: AtomicBool::new(true),
            task: AtomicWaker::new(),
        };
        Self {
            future,
            gate: Arc::new(gate),
        }
    }
}

impl<F: Future + Unpin> Future for OnWake<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.gate.task.register(cx.waker());
        if !self.gate.is_woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // A wake from here on is for the next poll.
        self.gate.is_woken.swap(false, Ordering::AcqRel);
        let waker = Waker::from(Arc::clone(&self.gate));
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    use futures_util::FutureExt as _;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_once_until_it_is_woken() {
        let (polls, inner) = (AtomicUsize::new(0), AtomicWaker::new());
        let mut waiting = OnWake::new(poll_fn(|cx| {
            inner.register(cx.waker());
            match polls.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Poll::<()>::Pending,
                _ => Poll::Ready(()),
            }
        }));
        for _ in 0..3 {
            assert!((&mut waiting).now_or_never().is_none());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        inner.wake();
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(polls.load(Ordering::Relaxed), 2);
        inner.wake();
        assert!((&mut waiting).now_or_never().is_some());
    }

    #[tokio::test]
    async fn it_wakes_the_task_that_polled_last() {
        let token = CancellationToken::new();
        let mut waiting = OnWake::new(Box::pin(token.clone().cancelled_owned()));
        assert!((&mut waiting).now_or_never().is_none());
        let moved = tokio::spawn(waiting);
        tokio::task::yield_now().await;
        token.cancel();
        moved.await.expect("the task ends");
    }

    #[tokio::test]
    async fn it_is_ready_at_once_if_the_future_is() {
        let token = CancellationToken::new();
        token.cancel();
        OnWake::new(Box::pin(token.cancelled_owned())).await;
    }
}
