//! HTTP/2 with prior knowledge, over cleartext TCP.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use futures_util::{StreamExt as _, future::join_all, stream};
use headwater::Streaming;
use headwater_tests::{FIRST_ITEM_WAIT, Numbered, app};
use tokio::sync::{Notify, Semaphore};

use crate::{
    Outcome,
    child::Server,
    served::{Served, soon, within},
};

fn client() -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let http = headwater_client::internals::http()?;
    Ok(http.http2_prior_knowledge().no_proxy().build()?)
}

#[tokio::test]
async fn items_pass_in_every_format() -> Outcome {
    let server = Served::new(app()).await;
    for format in headwater_wire::Format::ALL {
        let url = server.url(&format!("/items?count=5&format={}", format.name()));
        let response = soon(client()?.get(url).send()).await?;
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let body = soon(response.text()).await?;
        assert_eq!(body.matches("😀").count(), 5, "{format:?}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_hundred_streams_share_one_connection() -> Outcome {
    // No stream gets an item before all are connected, and the server accepts only one connection.
    // A client with a second connection would therefore wait until the test fails.
    let everybody = Arc::new(Semaphore::new(0));
    let handler = {
        let everybody = Arc::clone(&everybody);
        move || async move {
            let items = stream::once(async move {
                let _ = everybody.acquire().await;
                Numbered::new(1)
            });
            Streaming::new(items).first_item_wait(FIRST_ITEM_WAIT)
        }
    };
    let app = Router::new().route("/", get(handler));
    let server = Served::with(app, |serve| serve.max_connections(1)).await;
    let client = client()?;
    let connect = |_| async { client.get(server.url("/")).send().await };
    let first = soon(connect(0)).await?;
    let mut responses = soon(join_all((1..100).map(connect))).await;
    responses.push(Ok(first));
    everybody.add_permits(1);
    for response in responses {
        assert!(soon(response?.text()).await?.contains("😀"));
    }
    Ok(())
}

#[tokio::test]
async fn cancelling_one_stream_drops_it_and_keeps_the_connection() -> Outcome {
    struct OnDrop(Arc<Notify>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let dropped = Arc::new(Notify::new());
    let handler = {
        let dropped = Arc::clone(&dropped);
        move || async move {
            let guard = OnDrop(dropped);
            let items = stream::iter([Numbered::new(1)]).chain(stream::pending());
            Streaming::new(items.inspect(move |_| {
                let _ = &guard;
            }))
        }
    };
    let app = app().route("/held", get(handler));
    let server = Served::with(app, |serve| serve.max_connections(1)).await;
    let client = client()?;
    let mut held = soon(client.get(server.url("/held")).send()).await?;
    soon(held.chunk()).await?.ok_or("no item")?;
    drop(held);
    soon(dropped.notified()).await;
    let body = soon(
        soon(client.get(server.url("/items?count=2")).send())
            .await?
            .text(),
    )
    .await?;
    assert_eq!(body.matches("😀").count(), 2);
    Ok(())
}

#[tokio::test]
async fn a_shutdown_resets_open_streams() -> Outcome {
    let mut server = Server::start(Duration::from_secs(5))?;
    let response = client()?
        .get(server.url("/items?every_ms=5&format=ndjson"))
        .send();
    let mut response = soon(response).await?;
    soon(response.chunk()).await?.ok_or("no item")?;
    server.terminate()?;
    let cut = loop {
        match soon(response.chunk()).await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(cut, "a stream that was cut must not look complete");
    let status = within(Duration::from_secs(6), server.exit(Duration::from_secs(6))).await?;
    assert!(status.success(), "{status}");
    Ok(())
}
