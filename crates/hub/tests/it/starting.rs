//! The start of a hub's background work.

use std::sync::Arc;

use futures_util::stream;
use headwater::test::TestClient;
use headwater_hub::{Durable, Hub};
use headwater_log::{Log, MemoryLog, Offset};
use tokio::runtime::{Builder, Handle};

/// Runs `work` in a runtime and then drops the runtime with all its tasks, as a crash does.
fn process(work: impl AsyncFnOnce()) {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work());
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn only_start_spawns_tasks_and_only_once() {
    let hub = Hub::new(Arc::new(MemoryLog::default()));
    let before = tasks();
    let _router = hub.app().into_router();
    assert_eq!(tasks(), before);
    hub.start();
    let started = tasks();
    assert!(started > before);
    hub.clone().start();
    assert_eq!(tasks(), started);
}

#[test]
fn a_stream_of_an_earlier_process_is_closed_by_the_start_or_the_first_use() {
    async fn request(hub: &Hub) {
        TestClient::new(hub.app()).get("/healthz").send().await;
    }
    async fn durable(hub: &Hub) {
        let other = hub.durable("b").run(|| stream::iter([1]));
        let _: Durable<u64> = other.await.unwrap();
    }
    for first in ["start", "request", "durable"] {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
        let name = "a".parse().unwrap();
        process(async || {
            let hub = Hub::new(Arc::clone(&log));
            let run = hub.durable("a").run(stream::pending);
            let _: Durable<u64> = run.await.unwrap();
        });
        assert!(
            !futures_util::FutureExt::now_or_never(log.info(&name))
                .unwrap()
                .unwrap()
                .closed
        );
        process(async || {
            let hub = Hub::new(Arc::clone(&log));
            match first {
                "start" => hub.start(),
                "request" => request(&hub).await,
                _ => durable(&hub).await,
            }
            let closed = async {
                let mut follower = log.follow(&name).await.unwrap();
                follower.past(Offset::START).await
            };
            let closed = tokio::time::timeout(std::time::Duration::from_secs(5), closed).await;
            assert!(closed.is_ok_and(|progress| progress.closed), "{first}");
        });
    }
}
