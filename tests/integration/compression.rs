//! tower-http's compression must pass each item at once, and not hold it until a buffer is full.

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

/// Returns an application that sends one item for each permit of `allowed`.
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
        // A heartbeat could push out an item that the compression holds, so there is none.
        Streaming::new(items)
            .heartbeat(Duration::ZERO)
            .first_item_wait(FIRST_ITEM_WAIT)
    };
    Router::new().route("/", get(handler))
}

/// Decodes the content coding of a body as it arrives.
fn decoded(coding: Option<&str>, body: DuplexStream) -> Pin<Box<dyn AsyncRead + Send>> {
    let body = BufReader::new(body);
    match coding {
        Some("gzip") => Box::pin(GzipDecoder::new(body)),
        Some("br") => Box::pin(BrotliDecoder::new(body)),
        Some("zstd") => Box::pin(ZstdDecoder::new(body)),
        Some(other) => panic!("the coding {other} was not requested"),
        None => Box::pin(body),
    }
}

/// Reads the stream, and allows each item only after the previous one arrived. Returns the content
/// coding of the response.
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

/// Reads in every coding and format through a layer. The layer must use the coding for all formats
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
async fn a_compression_layer_passes_each_item_as_it_arrives() -> Outcome {
    check(|app| app.layer(CompressionLayer::new()), &[]).await
}

#[tokio::test]
async fn a_compression_layer_for_everything_passes_each_item_as_it_arrives() -> Outcome {
    check(|app| app.layer(everything()), &[]).await
}

#[tokio::test]
async fn a_compression_layer_around_headwaters_layer_passes_each_item_as_it_arrives() -> Outcome {
    // The compression layer sees the encoded bodies here, as in an app under a server other than
    // Headwater's.
    let layered = |app: Router| app.layer(headwater::layer()).layer(CompressionLayer::new());
    // By default, tower-http does not compress SSE.
    check(layered, &["ndjson", "json-seq", "json", "text"]).await?;
    let layered = |app: Router| app.layer(headwater::layer()).layer(everything());
    check(layered, &["ndjson", "sse", "json-seq", "json", "text"]).await
}
