use tokio::sync::watch;

use crate::offset::{Offset, Position};

/// The progress of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The offset after its last message.
    pub tail: Offset,
    /// `true` if the stream is closed.
    pub closed: bool,
    /// `true` if the stream was deleted or has expired.
    pub gone: bool,
}

/// A handle that waits for new messages of a stream.
///
/// It holds one number and no messages, so a slow owner accumulates nothing, and any number of
/// appends in between cause one wake-up. The owner [reads](crate::Log::read) the messages.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use headwater_log::{Append, Create, Log, MemoryLog, Settings, StreamName};
///
/// let log = MemoryLog::default();
/// let name = StreamName::new("prices")?;
/// log.create(&name, Create::new(Settings::of_type("application/json"))).await?;
///
/// let mut follower = log.follow(&name).await?;
/// let seen = follower.progress().tail;
/// log.append(&name, Append::new(vec!["42".into()])).await?;
/// assert!(follower.past(seen).await.tail > seen);
/// # Ok::<(), headwater_log::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Follower(watch::Receiver<Progress>);

impl Follower {
    /// Creates a follower of the sender of `progress`. For implementations of an engine.
    #[must_use]
    pub fn new(progress: watch::Receiver<Progress>) -> Self {
        Self(progress)
    }

    /// Returns the stream's progress now. Later changes count as new for
    /// [`changed`](Self::changed).
    pub fn progress(&mut self) -> Progress {
        *self.0.borrow_and_update()
    }

    /// Waits until the stream's tail is past `seen`, or the stream is closed or gone, and returns
    /// its progress. A closed engine is reported as gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn past(&mut self, seen: Offset) -> Progress {
        let met = self
            .0
            .wait_for(|now| now.tail > seen || now.closed || now.gone)
            .await;
        let met = met.ok().map(|progress| *progress);
        met.unwrap_or_else(|| Progress {
            gone: true,
            ..*self.0.borrow()
        })
    }

    /// Waits until the progress differs from the last one that this follower saw. Returns `false` if
    /// the engine is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// A handle that waits for growth of the order of all streams. Like [`Follower`], it holds one
/// number.
#[derive(Clone, Debug)]
pub struct OrderFollower(watch::Receiver<Position>);

impl OrderFollower {
    /// Creates a follower of the sender of `head`. For implementations of an engine.
    #[must_use]
    pub fn new(head: watch::Receiver<Position>) -> Self {
        Self(head)
    }

    /// Returns the end of the order now.
    pub fn head(&mut self) -> Position {
        *self.0.borrow_and_update()
    }

    /// Waits until the order is past `seen` and returns its end, or `None` if the engine is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn past(&mut self, seen: Position) -> Option<Position> {
        self.0
            .wait_for(|head| *head > seen)
            .await
            .ok()
            .map(|head| *head)
    }
}
