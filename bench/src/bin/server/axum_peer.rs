//! axum as in its documentation: `Sse` with `Event::json_data`, and `Body::from_stream`.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::header,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use headwater_bench::{
    Error,
    item::{Item, items},
};
use serde::Deserialize;

use crate::source::Source;

#[derive(Deserialize)]
struct Count {
    count: u64,
}

pub(crate) fn run(rate: u32) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = Router::new()
            .route("/sse", get(sse))
            .route("/ndjson", get(ndjson))
            .route("/paced", get(paced))
            .route("/idle", get(idle))
            .merge(crate::operation::plain())
            .with_state(Source::start(rate));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        crate::announce(listener.local_addr()?);
        Ok(axum::serve(listener, app).await?)
    })
}

async fn sse(
    Query(Count { count }): Query<Count>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    // No keep-alive: this stream never pauses, and without it axum is faster.
    Sse::new(stream::iter(items(count)).map(|item| Event::default().json_data(item)))
}

async fn ndjson(Query(Count { count }): Query<Count>) -> impl IntoResponse {
    let lines = stream::iter(items(count)).map(|item| {
        let mut line = serde_json::to_vec(&item)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(line))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    )
}

async fn paced(State(source): State<Source>) -> impl IntoResponse {
    let events = source
        .subscribe()
        .map(|item| Event::default().json_data(item));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn idle() -> impl IntoResponse {
    let events = stream::pending::<Item>()
        .map(|item| Ok::<_, Infallible>(Event::default().json_data(item).unwrap_or_default()));
    Sse::new(events).keep_alive(KeepAlive::default())
}
