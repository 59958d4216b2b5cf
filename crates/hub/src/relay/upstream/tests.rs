//! Upstreams over sockets, with servers that misbehave.

mod answers;
mod feeds;
mod server;
pub(super) mod session;

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use headwater_client::internals;
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::{Client, redirect};
use tokio::time::timeout;

use self::server::Server;
use super::{Call, Fault, Item, OpenError, Upstream, open};
use crate::limits::UpstreamLimits;

const PATIENCE: Duration = Duration::from_secs(10);

fn http() -> Client {
    internals::http()
        .unwrap()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

fn limits() -> UpstreamLimits {
    UpstreamLimits {
        head_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        backoff: Duration::from_millis(20),
        most_backoff: Duration::from_millis(40),
        ..UpstreamLimits::default()
    }
}

fn call(server: &Server, method: Method) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert("x-note", HeaderValue::from_static("kept"));
    let body = match method {
        Method::POST => Bytes::from_static(b"{\"q\":1}"),
        _ => Bytes::new(),
    };
    Call {
        method,
        url: server.url(),
        headers,
        body,
        reconnect: true,
    }
}

async fn post(server: &Server, limits: UpstreamLimits) -> Result<Upstream, OpenError> {
    let http = http();
    let opened = open(&http, call(server, Method::POST), limits);
    timeout(PATIENCE, opened).await.unwrap()
}

async fn get(server: &Server, limits: UpstreamLimits) -> Result<Upstream, OpenError> {
    let http = http();
    let opened = open(&http, call(server, Method::GET), limits);
    timeout(PATIENCE, opened).await.unwrap()
}

/// The items, with a timeout for each.
struct Items(Pin<Box<dyn Stream<Item = Result<Item, Fault>> + Send>>);

impl Items {
    fn of(upstream: Upstream) -> Self {
        Self(Box::pin(upstream.into_items()))
    }

    async fn next(&mut self) -> Option<Result<String, Fault>> {
        let next = timeout(PATIENCE, self.0.next()).await;
        let item = next.expect("an item, or the end, comes in time")?;
        Some(item.map(|item| item.bytes.escape_ascii().to_string()))
    }

    /// Returns all items, and the fault.
    async fn all(mut self) -> (Vec<String>, Option<Fault>) {
        let mut items = Vec::new();
        while let Some(item) = self.next().await {
            match item {
                Ok(item) => items.push(item),
                Err(fault) => {
                    assert_eq!(self.next().await, None, "nothing comes after a fault");
                    return (items, Some(fault));
                }
            }
        }
        (items, None)
    }
}
