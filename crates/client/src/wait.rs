use std::{fmt, sync::Arc, time::Duration};

/// A wait for another attempt: what [`on_wait`](crate::ClientBuilder::on_wait) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// How long it is.
    pub delay: Duration,
    /// Why the attempt before it failed, in words.
    pub reason: String,
}

/// The function that is told of waits.
#[derive(Clone)]
pub(crate) struct OnWait(Arc<dyn Fn(&Wait) + Send + Sync>);

impl OnWait {
    pub(crate) fn new(tell: impl Fn(&Wait) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, delay: Duration, reason: &str) {
        let reason = reason.to_owned();
        (self.0)(&Wait { delay, reason });
    }
}

impl fmt::Debug for OnWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnWait")
    }
}
