//! A disconnect drops the handler's stream, so that its work stops.

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

/// Reports when the stream that owns the matching [`OnDrop`] is dropped.
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
    /// One item, then none.
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

/// The way in which a client disconnects.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// A TCP reset, as when a process is killed with unread data.
    Reset,
    /// A close, as when a program exits.
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
    // Headwater guarantees the drop within one heartbeat. The second more is slack for a busy
    // machine.
    within(HEARTBEAT + Duration::from_secs(1), left.dropped()).await;
    Ok(())
}

#[tokio::test]
async fn a_reset_drops_an_idle_stream() -> Outcome {
    check(Source::Idle, "sse", Leave::Reset).await?;
    check(Source::Idle, "ndjson", Leave::Reset).await
}

#[tokio::test]
async fn a_close_drops_an_idle_stream() -> Outcome {
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
async fn a_reset_drops_a_stream_that_writes_at_full_speed() -> Outcome {
    for format in headwater_wire::Format::ALL {
        check(Source::AsFastAsPossible, format.name(), Leave::Reset).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_disconnect_while_the_head_waits_for_the_first_item_drops_the_stream() -> Outcome {
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
