//! Feeds: event streams with ids, across disconnects and restarts.

use axum::{body::Body, response::Response};
use futures_util::{StreamExt as _, stream};

use super::*;

/// Starts a feed with two new events for each connection, from 1, which then breaks. After the
/// sixth it ends.
async fn feed() -> Upstream {
    Upstream::new(|call| {
        let seen = call.headers.get("last-event-id");
        let seen: u32 = seen.map_or(0, |id| {
            id.to_str()
                .expect("it is text")
                .parse()
                .expect("it is a number")
        });
        if seen >= 6 {
            return Response::builder()
                .status(204)
                .body(Body::empty())
                .expect("it works");
        }
        // An event that was sent before is repeated.
        let events: Vec<Result<String, std::io::Error>> = (seen.max(1)..=seen + 2)
            .map(|n| Ok(format!("retry: 10\nid: {n}\ndata: {n}\n\n")))
            .collect();
        let broken = async {
            // hyper drops data that it hasn't sent yet.
            tokio::time::sleep(Duration::from_millis(30)).await;
            Err(std::io::Error::other("a test's"))
        };
        let body = stream::iter(events).chain(stream::once(broken));
        Response::builder()
            .header("content-type", SSE)
            .body(Body::from_stream(body))
            .expect("it works")
    })
    .await
}

async fn data(server: &Server, path: &str) -> Vec<String> {
    let text = server.text_of(path).await;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_feed_that_breaks_resumes_and_stores_each_event_once() {
    let (server, upstream) = (server(), feed().await);
    let path = server.relayed("", &upstream.url).await;
    assert_eq!(server.ended(&path).await, None);
    assert_eq!(data(&server, &path).await, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(upstream.calls().len(), 4);
    // With `feed=false`, the break is the end.
    let path = server.relayed("?feed=false", &upstream.url).await;
    assert!(server.ended(&path).await.is_some());
    assert_eq!(upstream.calls().len(), 5);
}

fn run() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("it works")
}

fn over(folder: &std::path::Path) -> Server {
    let mut settings = headwater_log::DiskOptions::default();
    settings.durability = headwater_log::Durability::Os;
    let log = headwater_log::DiskLog::open(folder, settings).expect("it works");
    Server::over(
        std::sync::Arc::new(log),
        headwater_log::Clock::system(),
        None,
        options(),
    )
}

/// Starts a feed that sends its first two events and is then silent, or resumes after the last id.
async fn patient(address: &str, hold: bool) -> Upstream {
    Upstream::at(address, move |call| {
        let seen = call
            .headers
            .get("last-event-id")
            .map(|id| id.to_str().expect("it is text").to_owned());
        let events = match seen.as_deref() {
            None => "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n",
            Some("2") => "id: 3\ndata: 3\n\nid: 4\ndata: [DONE]\n\n",
            Some(_) => "data: wrong\n\n",
        };
        let events = stream::iter([Ok::<_, std::io::Error>(events)]);
        let silence = stream::pending();
        let body = match hold {
            true => Body::from_stream(events.chain(silence)),
            false => Body::from_stream(events),
        };
        Response::builder()
            .header("content-type", SSE)
            .body(body)
            .expect("it works")
    })
    .await
}

#[test]
fn a_feed_without_credentials_resumes_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ([path, secret], address, left) = run().block_on(async {
        let server = over(folder.path());
        let upstream = patient("127.0.0.1:0", true).await;
        let path = server.relayed("", &upstream.url).await;
        let secret = server
            .relay("", "GET", &upstream.url)
            .header("upstream-authorization", "Bearer hunter2");
        let secret = location(&secret.send().await);
        for path in [&path, &secret] {
            server
                .comes_to(path, "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n")
                .await;
        }
        let address = upstream.url.strip_prefix("http://").unwrap().to_owned();
        ([path, secret], address, server)
    });
    drop(left);
    run().block_on(async {
        let upstream = patient(&address, false).await;
        let server = over(folder.path());
        while server.client.get(&path).send().await.status() == 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(server.ended(&path).await, None);
        assert_eq!(data(&server, &path).await, ["1", "2", "3", "[DONE]"]);
        let problem = server.ended(&secret).await.expect("it says why");
        assert_eq!(problem["type"], "urn:headwater:interrupted");
        assert_eq!(upstream.calls().len(), 1);
    });
    // No credential is on disk.
    let mut files = vec![folder.path().to_path_buf()];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            let bytes = std::fs::read(path).unwrap();
            read += bytes.len();
            assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
        }
    }
    assert!(read > 0);
}
