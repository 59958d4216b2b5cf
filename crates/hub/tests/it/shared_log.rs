//! A hub whose log other hubs use too.

use std::sync::Arc;

use futures_util::stream;
use headwater::Problem;
use headwater_hub::{Durable, Hub, Options};
use headwater_log::MemoryLog;
use http::Method;

use crate::Server;

#[tokio::test]
async fn streams_work_and_subscriptions_are_refused() {
    let server = Server::with(Options::new().shared_log());
    server.put_json("a", "[1]").await;
    server.post_json("a", "2").await;
    assert_eq!(server.get("a").send().await.text().await, "[1,2]");
    for (method, path) in [
        (Method::GET, "subscriptions/s"),
        (Method::PUT, "subscriptions/s"),
        (Method::POST, "subscriptions/s/claim"),
        (Method::GET, "jwks.json"),
    ] {
        let request = server.request(method, &format!("__ds/{path}"));
        let response = request.body("{}").send().await;
        assert_eq!(response.status(), 501, "{path}");
        let text = response.text().await;
        assert!(text.contains("this hub is another one"), "{text}");
    }
}

#[tokio::test]
async fn durable_handlers_are_refused() {
    let log = Arc::new(MemoryLog::default());
    let hub = Hub::with_options(log, Options::new().shared_log());
    let run = hub.durable("a").run(|| stream::iter([1]));
    let refused: Result<Durable<u64>, Problem> = run.await;
    let status = refused.err().map(|problem| problem.status().as_u16());
    assert_eq!(status, Some(501));
}
