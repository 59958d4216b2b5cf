//! Headwater as in its documentation.

use axum::{
    Router,
    extract::{Query, State},
    routing::get,
};
use futures_util::stream;
use headwater::{BoundAddress, Streaming};
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
    serve(|| {
        Router::new()
            // The client's `Accept` selects the format. There are two paths so that all servers
            // have the same paths.
            .route("/sse", get(drain))
            .route("/ndjson", get(drain))
            .route("/paced", get(paced))
            .route("/idle", get(idle))
            .with_state(Source::start(rate))
    })
}

/// Serves an app that is created within the runtime.
pub(crate) fn serve(app: impl FnOnce() -> Router) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listening = |address: &BoundAddress| {
            if let BoundAddress::Tcp(address) = address {
                crate::announce(*address);
            }
        };
        Ok(headwater::serve(app(), "127.0.0.1:0")
            .quiet()
            .on_bound(listening)
            .await?)
    })
}

async fn drain(Query(Count { count }): Query<Count>) -> Streaming<Item> {
    Streaming::new(stream::iter(items(count)))
}

async fn paced(State(source): State<Source>) -> Streaming<Item> {
    Streaming::new(source.subscribe())
}

async fn idle() -> Streaming<Item> {
    Streaming::new(stream::pending::<Item>())
}
