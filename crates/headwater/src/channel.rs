use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::{
    Item, Problem,
    item::{IntoItem, StreamItem},
    panics::{self, Panicked},
};

/// A message of the channel.
enum Message<T> {
    Item(Item<T>),
    Fail(Problem),
    Finish,
}

/// The sending half of [`Streaming::channel`](crate::Streaming::channel).
///
/// [`finish`](Self::finish) completes the stream. A sender that is dropped without it (its task
/// failed, panicked or was aborted) fails the stream, so that readers don't mistake a partial
/// stream for a complete one.
///
/// ```
/// use headwater::Streaming;
///
/// async fn count() -> Streaming<u32> {
///     let (sender, stream) = Streaming::channel(16);
///     tokio::spawn(async move {
///         for n in 0..3 {
///             if sender.send(n).await.is_err() {
///                 return; // The client has disconnected.
///             }
///         }
///         sender.finish().await;
///     });
///     stream
/// }
/// ```
pub struct Sender<T> {
    messages: mpsc::Sender<Message<T>>,
    /// The panic of the task or thread that held the sender.
    panicked: Arc<OnceLock<Panicked>>,
}

impl<T> Sender<T> {
    /// Sends one item. Waits while the channel is full: this is the backpressure of a slow reader.
    ///
    /// # Errors
    /// The stream has no reader: the client disconnected, or the server is shutting down. The
    /// caller should stop.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the item was not sent.
    pub async fn send(&self, item: impl IntoItem<T>) -> Result<(), SendError> {
        self.messages
            .send(Message::Item(item.into_item()))
            .await
            .map_err(|_| SendError(()))
    }

    /// Sends one item like [`send`](Self::send), from a thread without an async runtime.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// # Panics
    /// Called on a thread that runs async tasks.
    pub fn blocking_send(&self, item: impl IntoItem<T>) -> Result<(), SendError> {
        self.messages
            .blocking_send(Message::Item(item.into_item()))
            .map_err(|_| SendError(()))
    }

    /// Completes the stream.
    pub async fn finish(self) {
        // Without a reader, the end has no recipient.
        let _ = self.messages.send(Message::Finish).await;
    }

    /// Ends the stream with an error, which is reported to the client.
    pub async fn fail(self, problem: impl Into<Problem>) {
        let _ = self.messages.send(Message::Fail(problem.into())).await;
    }

    /// Waits until the stream has no reader.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }

    /// Returns `true` if the stream has no reader.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(panicked) = panics::last()
        {
            let _ = self.panicked.set(panicked);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// The error of sending to a stream that has no reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has no reader any more")]
pub struct SendError(());

/// The receiving half. Only the sender's message or drop ends it.
pub(crate) struct Receiver<T> {
    messages: mpsc::Receiver<Message<T>>,
    panicked: Arc<OnceLock<Panicked>>,
    over: bool,
}

pub(crate) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let panicked = Arc::new(OnceLock::new());
    (
        Sender {
            messages: sender,
            panicked: Arc::clone(&panicked),
        },
        Receiver {
            messages: receiver,
            panicked,
            over: false,
        },
    )
}

impl<T> Stream for Receiver<T> {
    type Item = Result<Item<T>, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let message = std::task::ready!(self.messages.poll_recv(cx));
        self.over = !matches!(message, Some(Message::Item(_)));
        Poll::Ready(match message {
            Some(Message::Item(item)) => Some(Ok(item)),
            Some(Message::Finish) => None,
            Some(Message::Fail(problem)) => Some(Err(problem)),
            None => Some(Err(match self.panicked.get() {
                Some(panicked) => Problem::internal(panicked.clone()),
                None => Problem::internal("the sender of a stream was dropped without `finish`"),
            })),
        })
    }
}

/// A stream of the items of an iterator that runs on a dedicated thread.
///
/// The thread starts at the first poll, so that a stream that is never polled costs none. It stops
/// at the next item after the stream is dropped. It is not one of the runtime's blocking threads.
/// There are few of them, and the runtime waits for them on shutdown, so an iterator that blocks on its
/// next item could delay the shutdown indefinitely.
pub(crate) struct Blocking<I, T> {
    state: BlockingState<I, T>,
}

enum BlockingState<I, T> {
    Idle(Option<I>),
    Running(Receiver<T>),
}

/// Number of items that a blocking iterator may be ahead of its reader.
const BLOCKING_AHEAD: usize = 64;

impl<I, T> Blocking<I, T> {
    pub(crate) fn new(items: I) -> Self {
        Self {
            state: BlockingState::Idle(Some(items)),
        }
    }
}

impl<I, T> Unpin for Blocking<I, T> {}

impl<I, T> Stream for Blocking<I, T>
where
    I: IntoIterator + Send + 'static,
    I::Item: StreamItem<T>,
    T: Send + 'static,
{
    type Item = Result<Item<T>, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                BlockingState::Running(receiver) => return Pin::new(receiver).poll_next(cx),
                BlockingState::Idle(items) => {
                    let Some(items) = items.take() else {
                        return Poll::Ready(None);
                    };
                    match spawn(items) {
                        Ok(receiver) => self.state = BlockingState::Running(receiver),
                        Err(error) => return Poll::Ready(Some(Err(error.into()))),
                    }
                }
            }
        }
    }
}

fn spawn<I, T>(items: I) -> std::io::Result<Receiver<T>>
where
    I: IntoIterator + Send + 'static,
    I::Item: StreamItem<T>,
    T: Send + 'static,
{
    let (sender, receiver) = channel(BLOCKING_AHEAD);
    std::thread::Builder::new()
        .name("headwater-iter".to_owned())
        .spawn(move || {
            for item in items {
                let message = match item.into_result() {
                    Ok(item) => Message::Item(item),
                    Err(problem) => Message::Fail(problem),
                };
                let is_last = matches!(message, Message::Fail(_));
                if sender.messages.blocking_send(message).is_err() || is_last {
                    return;
                }
            }
            // Reached only if the iterator ended by itself: a panic drops the sender before this.
            let _ = sender.messages.blocking_send(Message::Finish);
        })?;
    Ok(receiver)
}
