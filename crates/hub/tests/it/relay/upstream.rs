//! An upstream on this machine that counts its calls and responds as configured.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use http::{HeaderMap, Method};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

/// A request that was received.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

type Answer = dyn Fn(Call) -> Response + Send + Sync;

pub(crate) struct Upstream {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn new(answer: impl Fn(Call) -> Response + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", answer).await
    }

    /// Starts an upstream at this address.
    pub(crate) async fn at(
        address: &str,
        answer: impl Fn(Call) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let answer: Arc<Answer> = Arc::new(answer);
        let router = Router::new().fallback({
            let calls = Arc::clone(&calls);
            move |request: Request| {
                let (calls, answer) = (Arc::clone(&calls), Arc::clone(&answer));
                async move {
                    let (parts, body) = request.into_parts();
                    let body = to_bytes(body, 1 << 20).await.expect("it is whole");
                    let call = Call {
                        method: parts.method,
                        path: parts.uri.to_string(),
                        headers: parts.headers,
                        body: String::from_utf8_lossy(&body).into_owned(),
                    };
                    calls.lock().expect("no panic").push(call.clone());
                    answer(call)
                }
            }
        });
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { url, calls, task }
    }

    /// Starts an upstream with the same response to each call.
    pub(crate) async fn saying(content_type: &'static str, body: &'static str) -> Self {
        Self::new(move |_| reply(200, content_type, body)).await
    }

    /// Starts an upstream whose only response is the data that are sent. It breaks off at an error.
    pub(crate) async fn streaming(content_type: &'static str) -> (Self, Sender) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Mutex::new(Some(receiver));
        let upstream = Self::new(move |_| {
            let receiver = receiver.lock().expect("no panic").take();
            let mut receiver = receiver.expect("it is called once");
            let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
            Response::builder()
                .header("content-type", content_type)
                .body(Body::from_stream(pieces))
                .expect("it is a response")
        });
        (upstream.await, sender)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic").clone()
    }
}

pub(crate) type Sender = mpsc::UnboundedSender<Result<&'static str, std::io::Error>>;

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn reply(status: u16, content_type: &str, body: &'static str) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body))
        .expect("it is a response")
}
