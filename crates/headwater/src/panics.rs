//! Panics of handlers and streams, as problems that say where they came from.

use std::{
    any::Any,
    cell::RefCell,
    error::Error,
    fmt,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::Problem;

/// A panic: the log's to know, not a client's.
#[derive(Debug, Clone)]
pub(crate) struct Panicked {
    message: String,
    /// `src/main.rs:12:34`, where it is known.
    place: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panicked at {place}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

impl Error for Panicked {}

thread_local! {
    /// The last panic of this thread. Its place is known to the hook alone.
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// Notes the places of panics from now on. The hook that was there is called as before.
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
    // A panic in a thread that is ending has nowhere to be noted.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(panicked));
}

/// The panic that this thread unwinds from, or has just been caught of.
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

/// Calls `call`. If it panics, the error is a [`Problem`] of status 500 that tells a client no more than that; its source,
/// for the log, has the panic's message and, within [`serve`](crate::serve) and [`layer`](crate::layer), its place.
///
/// What `call` was changing when it panicked is left as it is: it should not be used again.
///
/// # Errors
/// `call` panicked.
pub fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let panicked = last().unwrap_or_else(|| Panicked {
            message: message(&*payload),
            place: None,
        });
        // What it was thrown with may panic when it is dropped.
        std::mem::forget(payload);
        Problem::internal(panicked)
    })
}

pin_project! {
    /// A future whose panic is an error.
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
