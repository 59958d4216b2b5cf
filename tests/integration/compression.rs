//! tower-http's compression must not hold an item back until the next one fills a buffer.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use axum::{Router, routing::get};
use futures_util::stream;
use headwater::Streaming;
use headwater_tests::{FIRST_ITEM_WAIT, Numbered};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream},
    sync::Semaphore,
};
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};

use crate::{
    Outcome, raw,
    served::{Served, soon},
};

const ITEMS: u64 = 5;

/// A stream whose items come one by one, each when the test allows it.
fn app(allowed: &Arc<Semaphore>) -> Router {
    let allowed = Arc::clone(allowed);
    let handler = move || async move {
        let items = stream::unfold(1, move |n| {
            let allowed = Arc::clone(&allowed);
            async move {
                if n > ITEMS {
                    return None;
                }
                allowed.acquire().await.ok()?.forget();
                Some((Numbered::new(n), n + 1))
            }
        });
        // No heartbeat could push an item out that was held back.
        Streaming::new(items)
            .heartbeat(Duration::ZERO)
            .first_item_wait(FIRST_ITEM_WAIT)
    };
    Router::new().route("/", get(handler))
}

/// Undoes the content coding of a body as it comes.
fn decoded(coding: Option<&str>, body: DuplexStream) -> Pin<Box<dyn AsyncRead + Send>> {
    let body = BufReader::new(body);
    match coding {
        Some("gzip") => Box::pin(GzipDecoder::new(body)),
        Some("br") => Box::pin(BrotliDecoder::new(body)),
        Some("zstd") => Box::pin(ZstdDecoder::new(body)),
        Some(other) => panic!("nobody asked for the coding {other}"),
        None => Box::pin(body),
    }
}

/// Reads the stream, allowing each item only after the one before has arrived. Gives the coding
/// that was used.
async fn read_one_by_one(
    layered: impl FnOnce(Router) -> Router,
    format: &str,
    coding: &str,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let allowed = Arc::new(Semaphore::new(0));
    let server = Served::new(layered(app(&allowed))).await;
    let path = format!("/?format={format}");
    let mut response = soon(raw::get(
        server.address,
        &path,
        &[("accept-encoding", coding)],
    ))
    .await?;
    assert_eq!(response.status, 200);
    let used = response.header("content-encoding").map(str::to_owned);

    let (mut chunks, body) = tokio::io::duplex(64 * 1024);
    let mut body = decoded(used.as_deref(), body);
    let forward = tokio::spawn(async move {
        while let Some(chunk) = response.chunk().await? {
            chunks.write_all(&chunk).await?;
        }
        io::Result::Ok(())
    });
    let mut seen = Vec::new();
    for n in 1..=ITEMS {
        allowed.add_permits(1);
        let wanted = format!("\"n\":{n},");
        while !String::from_utf8_lossy(&seen).contains(&wanted) {
            let read = soon(body.read_buf(&mut seen)).await?;
            assert!(
                read > 0,
                "{format}, {coding}: the body ended before item {n}"
            );
        }
    }
    soon(body.read_to_end(&mut seen)).await?;
    soon(forward).await??;
    Ok(used)
}

/// Reads in every coding and format through a layer, which must use the coding for all the formats
/// in `compressed`.
async fn check(layered: impl Fn(Router) -> Router + Copy, compressed: &[&str]) -> Outcome {
    for coding in ["gzip", "br", "zstd"] {
        for format in ["ndjson", "sse", "json-seq", "json", "text"] {
            let used = read_one_by_one(layered, format, coding).await?;
            if compressed.contains(&format) {
                assert_eq!(used.as_deref(), Some(coding), "{format}");
            }
        }
    }
    Ok(())
}

fn everything() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new().compress_when(SizeAbove::new(0))
}

#[tokio::test]
async fn each_item_passes_a_compression_layer_as_it_comes() -> Outcome {
    check(|app| app.layer(CompressionLayer::new()), &[]).await
}

#[tokio::test]
async fn each_item_passes_a_compression_layer_that_was_told_to_compress_everything() -> Outcome {
    check(|app| app.layer(everything()), &[]).await
}

#[tokio::test]
async fn each_item_passes_a_compression_layer_around_headwaters_own() -> Outcome {
    // Here the compression sees the real bodies: what an app has under a server that isn't Headwater's.
    let layered = |app: Router| app.layer(headwater::layer()).layer(CompressionLayer::new());
    // tower-http leaves Server-Sent Events alone by default.
    check(layered, &["ndjson", "json-seq", "json", "text"]).await?;
    let layered = |app: Router| app.layer(headwater::layer()).layer(everything());
    check(layered, &["ndjson", "sse", "json-seq", "json", "text"]).await
}
