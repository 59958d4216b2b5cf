//! `GET /streams`, `/healthz` and `/readyz`.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};

use crate::{Server, header};

impl Server {
    async fn list(&self, query: &str) -> Value {
        self.client
            .get(&format!("/streams{query}"))
            .send()
            .await
            .json()
            .await
    }
}

fn paths(listing: &Value) -> Vec<String> {
    let streams = listing["streams"].as_array().expect("it is a list");
    streams
        .iter()
        .map(|stream| stream["path"].as_str().expect("it is text").to_owned())
        .collect()
}

#[tokio::test]
async fn a_stream_is_listed_with_its_metadata() {
    let server = Server::new();
    server.put_json("plain", r#"["ab", 1]"#).await;
    server.clock.advance(Duration::from_secs(1));
    server.post_json("plain", "2").await;
    server.close("plain").await;
    let put = server
        .request(Method::PUT, "q")
        .header("stream-ttl", "60")
        .header("stream-max-age", "3600")
        .header("stream-max-bytes", "1000")
        .header("content-type", "text/plain");
    put.body("text").send().await;
    let fork = server
        .request(Method::PUT, "r")
        .header("stream-forked-from", "/streams/plain");
    assert_eq!(fork.send().await.status(), 201);

    let response = server.client.get("/streams").send().await;
    assert_eq!(header(&response, "cache-control"), "no-store");
    let listing = response.json::<Value>().await;
    assert_eq!(listing.get("after"), None);
    let streams = &listing["streams"];
    let expected = json!({
        "path": "plain", "content_type": "application/json", "messages": 3, "bytes": 6,
        "floor": server.at("plain", 0), "next_offset": server.at("plain", 3), "closed": true,
        "created": "2027-01-15T08:00:00Z", "appended": "2027-01-15T08:00:01Z",
    });
    assert_eq!(streams[0], expected);
    let expected = json!({
        "path": "q", "content_type": "text/plain", "messages": 1, "bytes": 4,
        "floor": server.at("q", 0), "next_offset": server.at("q", 1), "closed": false,
        "created": "2027-01-15T08:00:01Z", "appended": "2027-01-15T08:00:01Z",
        "expires": "2027-01-15T08:01:01Z", "ttl": 60, "max_age": 3600, "max_bytes": 1000,
    });
    assert_eq!(streams[1], expected);
    assert_eq!(streams[2]["forked_from"], "plain");

    server.clock.advance(Duration::from_secs(61));
    assert_eq!(
        paths(&server.list("").await),
        ["plain", "r"],
        "what has expired is not there"
    );
}

#[tokio::test]
async fn pages_of_any_size_contain_all_streams_once_in_order() {
    let server = Server::new();
    let mut expected = Vec::new();
    for n in 0..23 {
        let path = format!("p/{}", n * 7 % 23);
        server.put_json(&path, "[]").await;
        expected.push(path);
    }
    server.put_json("a", "[]").await;
    server.put_json("p", "[]").await;
    server.put_json("q", "[]").await;
    expected.sort();
    for limit in [1, 2, 5, 22, 23, 24, 1000] {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let page = server
                .list(&format!("?prefix=p/&limit={limit}{after}"))
                .await;
            assert!(paths(&page).len() <= limit);
            found.extend(paths(&page));
            let Some(next) = page["after"].as_str() else {
                break;
            };
            after = format!("&after={next}");
        }
        assert_eq!(found, expected, "{limit} a page");
    }
    assert_eq!(paths(&server.list("").await).len(), 26);
    assert_eq!(
        paths(&server.list("?prefix=p").await).len(),
        24,
        "it is text, not a folder"
    );
    assert_eq!(paths(&server.list("?prefix=none").await).len(), 0);
    assert_eq!(paths(&server.list("?after=p/9").await), ["q"]);
}

#[tokio::test]
async fn a_page_is_as_long_as_the_limit_and_no_longer() {
    let server = Server::new();
    for (query, status) in [
        ("limit=1", 200),
        ("limit=1000", 200),
        ("limit=0", 422),
        ("limit=1001", 422),
        ("limit=x", 422),
        ("after=", 400),
        (&*format!("after={}", "x".repeat(1024)), 200),
        (&*format!("after={}", "x".repeat(1025)), 400),
        (&*format!("prefix={}", "x".repeat(1025)), 200),
    ] {
        let response = server.client.get(&format!("/streams?{query}")).send().await;
        assert_eq!(response.status(), status, "{query}");
    }
}

#[tokio::test]
async fn the_list_is_at_the_root_of_the_streams() {
    for root in ["/v1/s", "/"] {
        let server = Server::with(headwater_hub::Options::new().root(root));
        let listing = server.client.get(root).send().await;
        assert_eq!(listing.status(), 200, "{root}");
        assert_eq!(listing.json::<Value>().await, json!({"streams": []}));
    }
}

#[tokio::test]
async fn a_hub_is_ready_while_its_storage_answers() {
    let server = Server::new();
    for path in ["/healthz", "/readyz"] {
        let response = server.client.get(path).send().await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(response.json::<Value>().await, json!({"status": "ok"}));
    }
    server.log.close().await.expect("it closes");
    assert_eq!(server.client.get("/healthz").send().await.status(), 200);
    let response = server.client.get("/readyz").send().await;
    assert_eq!(response.status(), 503);
    assert_eq!(
        header(&response, "content-type"),
        "application/problem+json"
    );
}

#[tokio::test]
async fn a_hub_whose_storage_refuses_appends_is_not_ready_but_readable() {
    let folder = tempfile::tempdir().expect("there is room");
    let mut full = headwater_log::DiskOptions::default();
    full.reserve_bytes = u64::MAX;
    let on_disk = headwater_log::DiskLog::open(folder.path(), full).expect("it is empty");
    let mut small = headwater_log::MemoryOptions::default();
    small.max_bytes = 1000;
    let in_memory = headwater_log::MemoryLog::new(small);
    let logs: [Arc<dyn headwater_log::Log>; 2] = [Arc::new(on_disk), Arc::new(in_memory)];
    for log in logs {
        let client = headwater::test::TestClient::new(headwater_hub::Hub::new(log).app());
        let response = client.get("/readyz").send().await;
        assert_eq!(response.status(), 503);
        let problem = response.json::<Value>().await;
        assert_eq!(problem["readable"], true);
        let detail = problem["detail"].as_str().expect("it says why");
        assert!(
            detail.contains("appends are refused") && detail.contains("full"),
            "{detail}"
        );
        assert_eq!(client.get("/streams").send().await.status(), 200);
        assert_eq!(client.get("/healthz").send().await.status(), 200);
    }
}
