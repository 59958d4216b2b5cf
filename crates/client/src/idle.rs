use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// A timeout beyond the clock's range is treated as this one.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// A timer that expires when no byte has arrived for the whole timeout. It is touched only when the
/// exchange has to wait: not for each item, and not for a chunk that has already been received.
pub(crate) struct Idle {
    pub(crate) timeout: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Idle {
    /// A `timeout` of zero never expires.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            sleep: None,
            armed: false,
        }
    }

    pub(crate) fn rearm(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.armed = false;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timeout.is_zero() {
            return Poll::Pending;
        }
        let timeout = self.timeout;
        let sleep = self.sleep.get_or_insert_with(|| {
            self.armed = true;
            Box::pin(sleep(timeout))
        });
        if !self.armed {
            self.armed = true;
            let now = Instant::now();
            // A timeout beyond the clock's range is treated as one year.
            let deadline = now.checked_add(timeout).unwrap_or_else(|| now + FAR);
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}
