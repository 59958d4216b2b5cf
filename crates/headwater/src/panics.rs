//! Panics of handlers and streams, as problems that carry their location.

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::Problem;

/// A panic, for the log. Clients don't see it.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "panicked{}: {message}",
    place.as_ref().map_or(String::new(), |place| format!(" at {place}"))
)]
pub(crate) struct Panicked {
    message: String,
    /// `src/main.rs:12:34`, if known.
    place: Option<String>,
}

thread_local! {
    /// The last panic of this thread. Only the hook knows its location.
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// Installs a panic hook that records locations. It then calls the previous hook.
pub(crate) fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let panicked = Panicked {
        message: message(info.payload()),
        place: info.location().map(ToString::to_string),
    };
    // A panic in a thread that is ending can't be recorded.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(panicked));
}

/// Returns and clears the panic that this thread unwinds from or has just caught.
pub(crate) fn last() -> Option<Panicked> {
    LAST.try_with(|last| last.borrow_mut().take())
        .ok()
        .flatten()
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_owned()
}

/// Calls `call` and converts a panic to an error.
///
/// # Unwind safety
/// The panic may leave data that `call` was changing in an inconsistent state. Don't use it again.
///
/// # Errors
/// `call` panicked. The error is a [`Problem`] of status 500 that tells a client nothing else. Its
/// source, for the log, has the panic's message and, within [`serve`](crate::serve) and
/// [`layer`](crate::layer), its location.
pub fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let panicked = last().unwrap_or_else(|| Panicked {
            message: message(&*payload),
            place: None,
        });
        // Dropping the payload may panic.
        std::mem::forget(payload);
        Problem::internal(panicked)
    })
}

pin_project! {
    /// A future that turns a panic into an error.
    pub(crate) struct Caught<F> {
        #[pin]
        future: F,
    }
}

impl<F> Caught<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Problem>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match catch(|| future.poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(problem) => Poll::Ready(Err(problem)),
        }
    }
}
