//! In-process tests of streaming endpoints: without a socket or a port, and without reading a
//! stream to its end.
//!
//! ```
//! use axum::{Router, routing::get};
//! use futures_util::stream;
//! use headwater::{Format, Streaming, test::TestClient};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app = Router::new().route("/count", get(async || Streaming::new(stream::iter(1_u64..))));
//!
//! let client = TestClient::new(app);
//! let mut numbers = client.get("/count").accept(Format::Sse).stream::<u64>().await;
//! assert_eq!(numbers.take(3).await, [1, 2, 3]);
//! numbers.leave().await; // The stream has no end. `leave` drops it and asserts that.
//! # }
//! ```
//!
//! Like assertions, these functions panic if a result is not as expected. The message contains the
//! actual result.

use std::{fmt, marker::PhantomData, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use headwater_wire::{Decoder, Event, Format, Limits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Negotiate, negotiate::Asked};

/// Time limit for an item, or for the drop of a stream. After it, the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that calls a router in process.
#[derive(Debug, Clone)]
pub struct TestClient {
    app: Negotiate<Router>,
}

impl TestClient {
    /// Creates a client of `app`, an `App` or an axum [`Router`].
    #[must_use]
    pub fn new(app: impl Into<Router> + 'static) -> Self {
        let layer = crate::layer().around(crate::kind_of(&app));
        Self {
            app: layer.layer(app.into()),
        }
    }

    /// Creates a GET request for this path and query.
    #[must_use]
    pub fn get(&self, uri: &str) -> TestRequest {
        self.request(Method::GET, uri)
    }

    /// Creates a POST request to this path and query.
    #[must_use]
    pub fn post(&self, uri: &str) -> TestRequest {
        self.request(Method::POST, uri)
    }

    /// Creates a request with any method.
    ///
    /// # Panics
    /// `uri` is not a valid URI.
    #[must_use]
    pub fn request(&self, method: Method, uri: &str) -> TestRequest {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = uri
            .parse()
            .unwrap_or_else(|error| panic!("{uri:?}: {error}"));
        TestRequest {
            app: self.app.clone(),
            request,
        }
    }
}

fn header_of(name: &str, value: &str) -> (HeaderName, HeaderValue) {
    let of_name = name.parse();
    let of_value = HeaderValue::from_str(value);
    (
        of_name.unwrap_or_else(|error| panic!("{name:?}: {error}")),
        of_value.unwrap_or_else(|error| panic!("{value:?}: {error}")),
    )
}

/// A request that has not been sent.
#[derive(Debug)]
pub struct TestRequest {
    app: Negotiate<Router>,
    request: Request<Body>,
}

impl TestRequest {
    /// Requests a format with `Accept`.
    #[must_use]
    pub fn accept(self, format: Format) -> Self {
        self.header(header::ACCEPT.as_str(), format.media_types()[0])
    }

    /// Sets the id of the last received event, as a reconnecting `EventSource` does.
    #[must_use]
    pub fn last_event_id(self, id: &str) -> Self {
        self.header("last-event-id", id)
    }

    /// Sets a header.
    ///
    /// # Panics
    /// The name or the value is not valid in a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let (name, value) = header_of(name, value);
        self.request.headers_mut().insert(name, value);
        self
    }

    /// Adds a header, beside others of its name.
    ///
    /// # Panics
    /// As for [`header`](Self::header).
    #[must_use]
    pub fn append_header(mut self, name: &str, value: &str) -> Self {
        let (name, value) = header_of(name, value);
        self.request.headers_mut().append(name, value);
        self
    }

    /// Sends `value` as a JSON body.
    ///
    /// # Panics
    /// `value` can't be serialised.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_else(|error| panic!("the body: {error}"));
        self.header("content-type", "application/json").body(body)
    }

    /// Sends a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Body::from(body.into());
        self
    }

    /// Sends the request and reads the response's head.
    pub async fn send(mut self) -> TestResponse {
        let dropped = CancellationToken::new();
        let asked = Asked {
            dropped: Some(dropped.clone()),
            ..Asked::default()
        };
        self.request.extensions_mut().insert(asked);
        let Ok(response) = self.app.call(self.request).await;
        let (head, body) = response.into_parts();
        TestResponse {
            status: head.status,
            headers: head.headers,
            body,
            dropped,
        }
    }

    /// Sends the request and reads the response as a stream of `T`.
    ///
    /// # Panics
    /// The response is not a 200 in one of the streaming formats.
    pub async fn stream<T: DeserializeOwned>(self) -> TestStream<T> {
        self.send().await.stream().await
    }
}

/// A response whose body has not been read.
pub struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
    dropped: CancellationToken,
}

impl TestResponse {
    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Reads the whole body as text.
    ///
    /// # Panics
    /// The body is aborted, or is not UTF-8.
    pub async fn text(self) -> String {
        let bytes = self
            .body
            .collect()
            .await
            .unwrap_or_else(|error| panic!("the body: {error}"));
        String::from_utf8(bytes.to_bytes().into())
            .unwrap_or_else(|error| panic!("the body: {error}"))
    }

    /// Reads the whole body as one JSON value.
    ///
    /// # Panics
    /// The body is aborted, or is not such a value.
    pub async fn json<T: DeserializeOwned>(self) -> T {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("the body {text:?}: {error}"))
    }

    /// Returns the body in the server's chunks. An aborted body yields an error.
    pub fn into_data_stream(self) -> axum::body::BodyDataStream {
        self.body.into_data_stream()
    }

    /// Reads the body as a stream of `T`, in the format that its `Content-Type` names.
    ///
    /// # Panics
    /// The response is not a 200 in one of the streaming formats.
    pub async fn stream<T: DeserializeOwned>(self) -> TestStream<T> {
        if self.status != StatusCode::OK {
            let status = self.status;
            panic!("the status is {status}, not 200: {}", self.text().await);
        }
        let content_type = self
            .headers
            .get(header::CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        let format = content_type
            .and_then(|value| Format::from_content_type(std::str::from_utf8(value).ok()?))
            .unwrap_or_else(|| panic!("no streaming format: {content_type:?}"));
        TestStream {
            body: self.body,
            decoder: Decoder::new(format, Limits::default()),
            dropped: self.dropped,
            cut: None,
            finished: false,
            _item: PhantomData,
        }
    }
}

impl fmt::Debug for TestResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// A stream of the items of a response.
pub struct TestStream<T> {
    body: Body,
    decoder: Decoder,
    dropped: CancellationToken,
    cut: Option<String>,
    finished: bool,
    _item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> TestStream<T> {
    /// Returns the format that the server selected.
    #[must_use]
    pub fn format(&self) -> Format {
        self.decoder.format()
    }

    /// Returns the next item, or `None` when the stream is complete. It skips
    /// [position](Event::is_position) events.
    ///
    /// # Panics
    /// The stream is aborted, starts [over](Event::is_reset), reports an error, contains something
    /// other than a `T`, or is silent for 10 s.
    pub async fn next(&mut self) -> Option<T> {
        let event = loop {
            let event = self.next_event().await?;
            if !event.is_position() {
                break event;
            }
        };
        assert!(!event.is_reset(), "the stream starts over: {}", event.data);
        assert!(
            !event.is_error(),
            "the stream reports an error: {}",
            event.data
        );
        let text = &event.data;
        Some(if self.decoder.format().is_json() {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("the item {text}: {error}"))
        } else {
            let value = serde_json::Value::from(&**text);
            serde_json::from_value(value)
                .unwrap_or_else(|error| panic!("the item {text:?}: {error}"))
        })
    }

    /// Returns the next event with its id and name, or `None` when the stream is complete. It
    /// includes error events and Headwater's other events.
    ///
    /// # Panics
    /// The stream is aborted, is malformed, or is silent for 10 s.
    pub async fn next_event(&mut self) -> Option<Event> {
        match tokio::time::timeout(PATIENCE, self.poll_event()).await {
            Ok(Ok(event)) => event,
            Ok(Err(cut)) => panic!("the stream was cut: {cut}"),
            Err(_) => panic!("nothing came for {PATIENCE:?}"),
        }
    }

    /// Reads until the stream is aborted and returns the reason.
    ///
    /// # Panics
    /// The stream completes instead, or continues for 10 s.
    pub async fn cut(&mut self) -> String {
        let read = async {
            loop {
                match self.poll_event().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ended as complete"),
                    Err(cut) => return cut,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(cut) => cut,
            Err(_) => panic!("the stream went on for {PATIENCE:?}"),
        }
    }

    /// Returns the next `count` items, or fewer if the stream completes earlier.
    ///
    /// # Panics
    /// As [`next`](Self::next).
    pub async fn take(&mut self, count: usize) -> Vec<T> {
        let mut items = Vec::new();
        while items.len() < count
            && let Some(item) = self.next().await
        {
            items.push(item);
        }
        items
    }

    /// Closes the response, as a disconnecting client does, and waits until the handler's stream is
    /// dropped.
    ///
    /// # Panics
    /// The stream isn't dropped within 10 s.
    pub async fn leave(self) {
        drop(self.body);
        let dropped = tokio::time::timeout(PATIENCE, self.dropped.cancelled()).await;
        assert!(
            dropped.is_ok(),
            "the handler's stream was not dropped within {PATIENCE:?}"
        );
    }

    async fn poll_event(&mut self) -> Result<Option<Event>, String> {
        loop {
            if let Some(event) = self.decoder.next().map_err(|error| error.to_string())? {
                return Ok(Some(event).filter(|event| !event.is_end()));
            }
            if let Some(cut) = &self.cut {
                return Err(cut.clone());
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.decoder.push(data);
                    }
                }
                // Events that were received before the cut are still returned.
                Some(Err(error)) => self.cut = Some(error.to_string()),
                None if self.finished => return Ok(None),
                None => {
                    self.finished = true;
                    self.decoder.finish();
                }
            }
        }
    }
}

impl<T> fmt::Debug for TestStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestStream")
            .field("format", &self.decoder.format())
            .finish_non_exhaustive()
    }
}
