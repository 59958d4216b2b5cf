//! Serving on a Unix socket.

use headwater_tests::app;
use tokio::net::{UnixListener, UnixStream};

use crate::{Outcome, raw, served::soon};

fn socket_path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("headwater-{}-{name}.socket", std::process::id()))
}

#[tokio::test]
async fn a_stream_is_served_on_a_listener() -> Outcome {
    let path = socket_path("listener");
    let listener = UnixListener::bind(&path)?;
    let server = headwater::serve(app(), listener).shutdown_on(std::future::pending());
    let server = tokio::spawn(async move { server.await });
    let read = soon(read_three(UnixStream::connect(&path).await?)).await;
    server.abort();
    std::fs::remove_file(&path)?;
    read
}

#[tokio::test]
async fn a_stream_is_served_on_a_path() -> Outcome {
    let path = socket_path("path");
    let (bound, is_bound) = tokio::sync::oneshot::channel();
    let server = headwater::serve(app(), format!("unix:{}", path.display()))
        .on_bound(move |_| {
            // The receiver is dropped if the test has failed.
            let _ = bound.send(());
        })
        .shutdown_on(std::future::pending());
    let server = tokio::spawn(async move { server.await });
    soon(is_bound).await?;
    let read = soon(read_three(UnixStream::connect(&path).await?)).await;
    server.abort();
    let _ = std::fs::remove_file(&path);
    read
}

async fn read_three(connection: UnixStream) -> Outcome {
    let path = "/items?count=3&format=ndjson";
    let mut response = raw::get_over(connection, path, &[]).await?;
    assert_eq!(response.status, 200);
    let (body, ended_cleanly) = response.rest().await;
    assert!(ended_cleanly);
    assert_eq!(String::from_utf8(body)?.lines().count(), 3);
    Ok(())
}
