//! When the client goes, the handler's stream is dropped: work that nobody reads must stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::{Stream, StreamExt as _, stream};
use headwater::Streaming;
use headwater_tests::{FIRST_ITEM_WAIT, Numbered};
use tokio::sync::Notify;

use crate::{
    Outcome, raw,
    served::{Served, soon, within},
};

const HEARTBEAT: Duration = Duration::from_millis(300);

/// Tells when the stream that holds it is dropped.
#[derive(Clone, Default)]
struct Left(Arc<(Notify, AtomicBool)>);

struct OnDrop(Left);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let (notify, dropped) = &*self.0.0;
        dropped.store(true, Ordering::SeqCst);
        notify.notify_one();
    }
}

impl Left {
    fn is_dropped(&self) -> bool {
        self.0.1.load(Ordering::SeqCst)
    }

    async fn dropped(&self) {
        self.0.0.notified().await;
    }
}

#[derive(Clone, Copy)]
enum Source {
    Idle,
    /// One item, then nothing.
    OneItem,
    AsFastAsPossible,
}

fn app(source: Source, left: &Left) -> Router {
    let left = left.clone();
    let handler = move || async move {
        let guard = OnDrop(left);
        Streaming::new(numbers(source).inspect(move |_| {
            let _ = &guard;
        }))
        .heartbeat(HEARTBEAT)
        .first_item_wait(FIRST_ITEM_WAIT)
    };
    Router::new().route("/", get(handler))
}

fn numbers(source: Source) -> impl Stream<Item = Numbered> + Send + 'static {
    let count = match source {
        Source::Idle => 0,
        Source::OneItem => 1,
        Source::AsFastAsPossible => u64::MAX,
    };
    stream::iter((1..=count).map(Numbered::new)).chain(stream::pending())
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// A reset, as when its process is killed with data unread.
    Reset,
    /// A close, as when its program ends.
    Close,
}

async fn check(source: Source, format: &str, leave: Leave) -> Outcome {
    let left = Left::default();
    let server = Served::new(app(source, &left)).await;
    let mut response = soon(raw::get(server.address, &format!("/?format={format}"), &[])).await?;
    assert_eq!(response.status, 200);
    if !matches!(source, Source::Idle) {
        soon(response.chunk())
            .await?
            .expect("the stream has an item");
    }
    assert!(
        !left.is_dropped(),
        "{format}: the stream is in use while the client reads"
    );

    let connection = response.into_connection();
    if matches!(leave, Leave::Reset) {
        connection.set_zero_linger()?;
    }
    drop(connection);
    // One heartbeat is what is promised; the rest is for a machine that is busy.
    within(HEARTBEAT + Duration::from_secs(1), left.dropped()).await;
    Ok(())
}

#[tokio::test]
async fn a_reset_drops_a_stream_that_was_idle() -> Outcome {
    check(Source::Idle, "sse", Leave::Reset).await?;
    check(Source::Idle, "ndjson", Leave::Reset).await
}

#[tokio::test]
async fn a_close_drops_a_stream_that_was_idle() -> Outcome {
    check(Source::Idle, "sse", Leave::Close).await?;
    check(Source::Idle, "ndjson", Leave::Close).await
}

#[tokio::test]
async fn a_reset_in_mid_stream_drops_the_stream_in_every_format() -> Outcome {
    for format in headwater_wire::Format::ALL {
        check(Source::OneItem, format.name(), Leave::Reset).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_reset_drops_a_stream_that_was_writing_as_fast_as_it_could() -> Outcome {
    for format in headwater_wire::Format::ALL {
        check(Source::AsFastAsPossible, format.name(), Leave::Reset).await?;
    }
    Ok(())
}

#[tokio::test]
async fn leaving_while_the_head_waits_for_the_first_item_drops_the_stream() -> Outcome {
    let left = Left::default();
    let held = OnDrop(left.clone());
    let held = Arc::new(std::sync::Mutex::new(Some(held)));
    let started = Arc::new(Notify::new());
    let handler = {
        let started = Arc::clone(&started);
        move || async move {
            let guard = held.lock().expect("nothing panics with it").take();
            started.notify_one();
            Streaming::new(stream::pending::<Numbered>().inspect(move |_| {
                let _ = &guard;
            }))
            .first_item_wait(Duration::from_secs(60))
        }
    };
    let server = Served::new(Router::new().route("/", get(handler))).await;
    let connection = tokio::net::TcpStream::connect(server.address).await?;
    let request = tokio::spawn(raw::get_over(connection, "/", &[]));
    soon(started.notified()).await;
    assert!(!left.is_dropped());
    request.abort();
    soon(left.dropped()).await;
    Ok(())
}
