//! A hub behind a guard: it accepts only the newest two tokens, replaces them often, and ends event
//! streams whose token has expired.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use headwater_client::{Error, StatusCode, Token};
use headwater_log::MemoryLog;
use http_body::Frame;

use crate::hub::TestHub;

/// A token that is always accepted.
const MASTER: &str = "master";

#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    newest: AtomicUsize,
    /// A new token replaces the older of the two after this many accepted requests.
    every: usize,
    /// An event stream ends after this many events.
    lives: usize,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    expired: AtomicUsize,
    closed: AtomicBool,
}

impl Guard {
    pub(super) fn new(every: usize, lives: usize) -> Self {
        Self(Arc::new(Inner {
            newest: AtomicUsize::new(0),
            every,
            lives,
            accepted: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            expired: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }))
    }

    /// Starts a hub behind this guard.
    pub(super) fn hub(&self) -> TestHub {
        let guard = self.clone();
        TestHub::behind(Arc::new(MemoryLog::default()), |hub: Router| {
            hub.layer(middleware::from_fn_with_state(guard, check))
        })
    }

    /// A source that keeps its token until it is refused.
    pub(super) fn token(&self) -> Token {
        let (guard, cached) = (self.clone(), Mutex::new(None));
        Token::from_fn(move |request| {
            let mut cached = cached.lock().unwrap();
            cached.take_if(|token: &mut String| request.refused() == Some(token.as_str()));
            let newest = || format!("t{}", guard.0.newest.load(SeqCst));
            Ok::<_, Error>(cached.get_or_insert_with(newest).clone())
        })
    }

    /// Refuses all tokens from now on, but for the master's.
    pub(super) fn close(&self) {
        self.0.closed.store(true, SeqCst);
    }

    pub(super) fn refused(&self) -> usize {
        self.0.refused.load(SeqCst)
    }

    pub(super) fn expired(&self) -> usize {
        self.0.expired.load(SeqCst)
    }

    /// Stores the numbers below `count` in a new stream, and closes it.
    pub(super) fn fill(&self, url: &str, count: u32) {
        let stream = headwater_client::blocking::stream(url).token(Token::fixed(MASTER));
        let writer = stream.writer().create(true).open().unwrap();
        (0..count).for_each(|n| writer.append(&n).unwrap());
        writer.close_stream().unwrap();
    }

    /// All messages of a stream.
    pub(super) fn content(&self, url: &str) -> Vec<u32> {
        let stream = headwater_client::blocking::stream(url).token(Token::fixed(MASTER));
        let messages = stream.reader().live(false).open::<u32>().unwrap();
        messages.map(|message| message.unwrap().value).collect()
    }

    fn accepts(&self, token: &str) -> bool {
        let newest = self.0.newest.load(SeqCst);
        let is_known = [newest, newest.saturating_sub(1)]
            .iter()
            .any(|n| token == format!("t{n}"));
        is_known && !self.0.closed.load(SeqCst)
    }
}

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let value = request.headers().get("authorization");
    let token = value.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if token == Some(MASTER) {
        return next.run(request).await;
    }
    let inner = &guard.0;
    if !token.is_some_and(|token| guard.accepts(token)) {
        inner.refused.fetch_add(1, SeqCst);
        let head = [("content-type", "application/problem+json")];
        let body = r#"{"title":"Unauthorized","status":401,"code":"token_expired"}"#;
        return (StatusCode::UNAUTHORIZED, head, body).into_response();
    }
    if inner.accepted.fetch_add(1, SeqCst) % inner.every == inner.every - 1 {
        inner.newest.fetch_add(1, SeqCst);
    }
    let response = next.run(request).await;
    let media_type = response.headers().get("content-type");
    let is_events = media_type.is_some_and(|value| value == "text/event-stream");
    match is_events {
        true => response.map(|body| {
            let left = inner.lives;
            Body::new(Expiring {
                body,
                guard: guard.clone(),
                left,
                is_told: false,
                is_flushed: false,
            })
        }),
        false => response,
    }
}

/// An event stream that ends with the guard's error after some events.
struct Expiring {
    body: Body,
    guard: Guard,
    left: usize,
    is_told: bool,
    is_flushed: bool,
}

impl http_body::Body for Expiring {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_told && !self.is_flushed {
            // hyper writes what it has before it polls again.
            self.is_flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.is_told {
            return Poll::Ready(Some(Err(io::Error::other("the token has expired"))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        };
        let Ok(chunk) = frame.into_data() else {
            return Poll::Ready(None);
        };
        let mut passed = Vec::new();
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            passed.extend_from_slice(line);
            if line == b"\n" {
                self.left = self.left.saturating_sub(1);
            }
            if self.left == 0 {
                // Two tokens at once, so that the client's is none of those that are accepted.
                self.guard.0.newest.fetch_add(2, SeqCst);
                self.guard.0.expired.fetch_add(1, SeqCst);
                self.is_told = true;
                passed.extend_from_slice(super::EXPIRED.as_bytes());
                break;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(passed.into()))))
    }
}
