use std::{sync::Arc, time::Duration};

/// A wait before another attempt, as passed to [`on_wait`](crate::ClientBuilder::on_wait).
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let ticks = headwater_client::get("http://127.0.0.1:8000/ticks")
///     .on_wait(|wait| eprintln!("{}; retrying in {:?}", wait.reason, wait.delay))
///     .events()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// The length of the wait. Zero if the server has refused a token and the source has returned
    /// another: that is sent at once.
    pub delay: Duration,
    /// A description of why the previous attempt failed.
    pub reason: String,
}

/// The callback for waits.
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

headwater_wire::opaque!(OnWait);
