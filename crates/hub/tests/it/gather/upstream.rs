//! A server that the hub calls.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
    routing::any,
};
use headwater_client::Egress;
use headwater_hub::{Limits, Options};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

use super::PATIENCE;
use crate::Server;

/// A server that the hub calls.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
pub(super) struct Seen {
    calls: AtomicUsize,
    /// Number of endless responses in progress.
    endless: AtomicUsize,
    pub(super) headers: Mutex<Vec<HeaderMap>>,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let app = Router::new()
            .route("/{*what}", any(answer))
            .with_state(Arc::clone(&seen));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self {
            address,
            seen,
            task,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Returns a hub that may only call this server.
    pub(super) fn hub(&self) -> Server {
        self.hub_with(Limits::default())
    }

    pub(super) fn hub_with(&self, limits: Limits) -> Server {
        let egress = Egress::allow([self.url("")]).expect("it is a pattern");
        Server::with(Options::new().limits(limits).upstreams(egress))
    }

    pub(super) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    pub(super) async fn wait_for(&self, endless: usize) {
        let reached = async {
            while self.seen.endless.load(Ordering::SeqCst) != endless {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .expect("in time");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts as in progress until it is dropped.
struct Endless(Arc<Seen>);

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.endless.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    Path(what): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    seen.calls.fetch_add(1, Ordering::SeqCst);
    seen.headers.lock().expect("no panic").push(headers);
    match what.split_once('/').unwrap_or((&what, "")) {
        ("wait", ms) => {
            let ms = ms.parse().expect("a number");
            tokio::time::sleep(Duration::from_millis(ms)).await;
            axum::Json(json!({ "waited": ms })).into_response()
        }
        ("endless", _) => {
            seen.endless.fetch_add(1, Ordering::SeqCst);
            let _endless = Endless(seen);
            std::future::pending().await
        }
        ("status", code) => {
            let status = StatusCode::from_bytes(code.as_bytes()).expect("a status");
            (status, "because").into_response()
        }
        ("bytes", count) => "x".repeat(count.parse().expect("a number")).into_response(),
        ("encoded", coding) => ([("content-encoding", coding)], "encoded").into_response(),
        ("to", url) => Redirect::temporary(url).into_response(),
        _ => body.into_response(),
    }
}
