//! Responses that end before their stream does.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::header;
use http_body::{Body as _, Frame};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::{Format, Problem, body::Cut, source::encode_failure};

/// Time between the last event and the abort, so that the event is written first.
const LINGER: Duration = Duration::from_millis(20);

/// Maximum length, in bytes, of a body that is sent at once, if its length is known.
const AT_ONCE: u64 = 64 * 1024;

/// Ends a response when `over` completes, unless it is complete by then.
///
/// In SSE, the problem is sent as an event `headwater:error` first, if there is one. In every format the
/// body is then aborted, so that it can't be taken for a complete one. A response that is known to have at most
/// 64 KiB is returned as it is: it is sent at once. Use it for what outlives its permission:
///
/// ```
/// use axum::response::Response;
/// use headwater::{Problem, StatusCode};
/// use std::time::Duration;
///
/// fn expiring(response: Response, valid_for: Duration) -> Response {
///     headwater::end_early(response, async move {
///         tokio::time::sleep(valid_for).await;
///         Some(Problem::new(StatusCode::UNAUTHORIZED).detail("the token has expired"))
///     })
/// }
/// ```
pub fn end_early(
    response: Response,
    over: impl Future<Output = Option<Problem>> + Send + 'static,
) -> Response {
    let length = response.body().size_hint().exact();
    if length.is_some_and(|length| length <= AT_ONCE) {
        return response;
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_sse = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with(Format::Sse.content_type()));
    response.map(|body| {
        Body::new(Ending {
            body,
            state: State::Open {
                over: FuturesUnordered::from_iter([Box::pin(over) as Over]),
            },
            event: is_sse.then_some([b'\n'; 2]),
        })
    })
}

pin_project! {
    struct Ending {
        #[pin]
        body: Body,
        state: State,
        // The last two bytes of an SSE body: an event can only follow an empty line.
        event: Option<[u8; 2]>,
    }
}

type Over = Pin<Box<dyn Future<Output = Option<Problem>> + Send>>;

enum State {
    /// There is one future. It is polled only when it was woken, and not for each frame.
    Open {
        over: FuturesUnordered<Over>,
    },
    /// The problem was sent, or can't be.
    Cutting(Pin<Box<Sleep>>),
    Over,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        loop {
            match this.state {
                State::Open { over } => {
                    let Poll::Ready(problem) = over.poll_next_unpin(cx) else {
                        break;
                    };
                    let problem = problem.flatten();
                    *this.state = State::Cutting(Box::pin(tokio::time::sleep(LINGER)));
                    if let Some(problem) = problem
                        && *this.event == Some([b'\n'; 2])
                    {
                        let mut out = Vec::new();
                        encode_failure(&problem, &mut out);
                        return Poll::Ready(Some(Ok(Frame::data(out.into()))));
                    }
                }
                State::Cutting(linger) => {
                    std::task::ready!(linger.as_mut().poll(cx));
                    *this.state = State::Over;
                    return Poll::Ready(Some(Err(axum::Error::new(Cut::Failed))));
                }
                State::Over => return Poll::Ready(None),
            }
        }
        let frame = std::task::ready!(this.body.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(last) = this.event
            && let Some(data) = frame.data_ref()
        {
            match **data {
                [.., a, b] => *last = [a, b],
                [b] => *last = [last[1], b],
                [] => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Open { .. } => self.body.is_end_stream(),
            State::Cutting(_) => false,
            State::Over => true,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match (&self.state, self.event) {
            // The body is as long as it is, or is aborted.
            (State::Open { .. }, None) => self.body.size_hint(),
            _ => http_body::SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::{FutureExt as _, stream};
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::StatusCode;

    fn expired() -> Option<Problem> {
        Some(Problem::new(StatusCode::UNAUTHORIZED).with("code", "token_expired"))
    }

    /// Returns a response whose body has these chunks and then stays open.
    fn open(content_type: &str, chunks: &'static [&'static str]) -> Response {
        let chunks = stream::iter(chunks)
            .map(|text| Ok::<_, axum::Error>(Bytes::from_static(text.as_bytes())));
        Response::builder()
            .header("content-type", content_type)
            .body(Body::from_stream(chunks.chain(stream::pending())))
            .unwrap()
    }

    async fn rest(response: Response) -> (String, bool) {
        let mut body = response.into_body();
        let mut text = String::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap(),
                Err(_) => return (text, true),
            }
        }
        (text, false)
    }

    #[tokio::test(start_paused = true)]
    async fn an_sse_response_ends_with_an_event_and_an_abort() {
        let over = tokio::time::sleep(Duration::from_secs(9)).map(|()| expired());
        let response = end_early(open("text/event-stream", &["data: 1\n\n"]), over);
        let (text, is_cut) = rest(response).await;
        let (first, event) = text.split_at(9);
        assert_eq!(first, "data: 1\n\n");
        assert!(event.starts_with("event: headwater:error\n"), "{event}");
        assert!(
            event.contains("token_expired") && event.ends_with("\n\n"),
            "{event}"
        );
        assert!(is_cut);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_in_the_middle_of_an_event_or_in_another_format() {
        for (content_type, chunk) in [
            ("text/event-stream", "data: 1\n"),
            ("application/x-ndjson", "1\n"),
        ] {
            let over = tokio::time::sleep(Duration::from_secs(9)).map(|()| expired());
            let chunks: &'static [&'static str] = Box::leak(Box::new([chunk]));
            let (text, is_cut) = rest(end_early(open(content_type, chunks), over)).await;
            assert_eq!((&*text, is_cut), (chunk, true));
        }
    }

    #[tokio::test]
    async fn a_complete_response_is_not_cut() {
        let body = stream::iter(["a", "b"]).map(Ok::<_, axum::Error>);
        let response = Response::new(Body::from_stream(body));
        assert_eq!(
            rest(end_early(response, pending())).await,
            ("ab".to_owned(), false)
        );
    }

    #[tokio::test]
    async fn a_response_of_a_known_length_is_cut_unless_it_is_sent_at_once() {
        for (length, is_short) in [(AT_ONCE, true), (AT_ONCE + 1, false)] {
            let text = "a".repeat(usize::try_from(length).unwrap());
            let response = Response::new(Body::from(text));
            let response = end_early(response, ready(expired()));
            let known = response.body().size_hint().exact();
            assert_eq!(known, Some(length));
            let (text, is_cut) = rest(response).await;
            assert_eq!((text.len() as u64 == length, is_cut), (is_short, !is_short));
        }
    }

    #[tokio::test]
    async fn the_end_is_looked_at_only_when_it_may_have_come() {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };

        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let over = std::future::poll_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Poll::<Option<Problem>>::Pending
        });
        let chunks = stream::iter(["1\n"; 100]).map(Ok::<_, axum::Error>);
        let response = end_early(Response::new(Body::from_stream(chunks)), over);
        assert_eq!(rest(response).await.0.len(), 200);
        assert_eq!(polls.load(Ordering::Relaxed), 1);
    }
}
