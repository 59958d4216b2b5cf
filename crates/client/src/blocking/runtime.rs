use std::{sync::Arc, thread};

use tokio::{
    runtime::{self, Handle},
    task::yield_now,
};

use crate::error::Error;

/// A tokio runtime that runs on whichever thread waits for a result. Dropping it never blocks or
/// panics, not even on a thread that runs async tasks.
pub(super) struct Runtime {
    /// Taken only by `drop`.
    runtime: Option<runtime::Runtime>,
}

headwater_wire::opaque!(Runtime);

impl Runtime {
    pub(super) fn new() -> Result<Self, Error> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime
            .map(|runtime| Self {
                runtime: Some(runtime),
            })
            .map_err(|error| {
                Error::request("the client's runtime can't be set up").with_source(error)
            })
    }

    /// Runs `future` to completion.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let runtime = self
            .runtime
            .as_ref()
            .expect("only `drop` takes the runtime");
        runtime.block_on(future)
    }

    /// Runs a request. First lets the kept connections process the events since the runtime last
    /// ran: a connection that the server has closed meanwhile must not be used.
    pub(super) fn start<F: Future>(&self, request: F) -> F::Output {
        self.block_on(async {
            settle().await;
            request.await
        })
    }

    /// Lets the connections notice that a response was dropped, so that the server sees it now and
    /// not at the next request.
    pub(super) fn settle(self: &Arc<Self>) {
        if Arc::strong_count(self) == 1 {
            // No other user of the connections is left: they close with the runtime.
            return;
        }
        match Handle::try_current() {
            Err(error) if error.is_missing_context() => self.block_on(settle()),
            // A thread that runs async tasks, or that is about to end, can't wait. Another thread
            // does.
            _ => {
                let runtime = Arc::clone(self);
                // Without a thread the server notices it later; nothing else depends on it.
                let _ = thread::Builder::new().spawn(move || runtime.block_on(settle()));
            }
        }
    }
}

/// Yields to the other tasks and the I/O driver a few times.
pub(super) async fn settle() {
    for _ in 0..4 {
        yield_now().await;
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
