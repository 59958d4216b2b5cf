use tokio::sync::watch;

use crate::offset::{Offset, Position};

/// How far a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The offset after its last message.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// Whether it has ended: it was deleted, or has expired.
    pub gone: bool,
}

/// Tells when a stream has gone on.
///
/// It holds one number and no messages: however slow its owner is, nothing piles up, and however
/// many appends there were meanwhile, it tells once. What they were, the owner
/// [reads](crate::Log::read).
#[derive(Clone, Debug)]
pub struct Follower(watch::Receiver<Progress>);

impl Follower {
    /// A follower of whoever holds the other end of `progress`. For those who write an engine.
    #[must_use]
    pub fn new(progress: watch::Receiver<Progress>) -> Self {
        Self(progress)
    }

    /// How far the stream is now. What follows counts as new for [`changed`](Self::changed).
    pub fn progress(&mut self) -> Progress {
        *self.0.borrow_and_update()
    }

    /// Waits until the stream is past `seen`, closed or gone, and says how far it is. The engine
    /// being closed is told as gone. Dropped early, it has lost nothing.
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

    /// Waits until anything differs from what was last looked at; `false` when the engine is
    /// closed. Dropped early, it has lost nothing.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// Tells when the order of all streams has gone on. As [`Follower`], it holds one number.
#[derive(Clone, Debug)]
pub struct OrderFollower(watch::Receiver<Position>);

impl OrderFollower {
    /// A follower of whoever holds the other end of `head`. For those who write an engine.
    #[must_use]
    pub fn new(head: watch::Receiver<Position>) -> Self {
        Self(head)
    }

    /// The end of the order now.
    pub fn head(&mut self) -> Position {
        *self.0.borrow_and_update()
    }

    /// Waits until the order is past `seen` and says where it ends; `None` when the engine is
    /// closed. Dropped early, it has lost nothing.
    pub async fn past(&mut self, seen: Position) -> Option<Position> {
        self.0
            .wait_for(|head| *head > seen)
            .await
            .ok()
            .map(|head| *head)
    }
}
