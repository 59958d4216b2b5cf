//! Appends at a hub whose log knows a stream only as it was some time ago, as on a cluster.

use std::{collections::HashMap, sync::Arc};

use headwater::test::TestClient;
use headwater_hub::Hub;
use headwater_log::{Info, Log, MemoryLog, MemoryOptions, StreamName};
use http::Method;
use parking_lot::Mutex;
use serde_json::json;

/// A log in memory that remembers streams as they were.
struct Behind {
    log: MemoryLog,
    known: Mutex<HashMap<StreamName, Info>>,
}

impl Behind {
    async fn remember(&self, name: &str) {
        let name = StreamName::new(name).expect("a name");
        let info = self.log.info(&name).await.expect("a stream");
        self.known.lock().insert(name, info);
    }
}

impl Log for Behind {
    fn known(&self, name: &StreamName) -> Option<Info> {
        self.known.lock().get(name).cloned()
    }

    pass_on!(create append read measure follow info producer image restore touch delete list read_order follow_order identity usage writable close);
}

#[tokio::test]
async fn an_append_is_judged_by_the_stream_as_it_is() {
    let log = Arc::new(Behind {
        log: MemoryLog::new(MemoryOptions::default()),
        known: Mutex::default(),
    });
    let client = TestClient::new(Hub::new(Arc::clone(&log) as Arc<dyn Log>).app());
    let create = async |content_type: &str| {
        let put = client.request(Method::PUT, "/streams/s");
        let put = put.header("content-type", content_type).send().await;
        assert_eq!(put.status(), 201);
    };
    let append = async |content_type: &str, body: &str, headers: &[(&str, &str)]| {
        let mut post = client
            .post("/streams/s")
            .header("content-type", content_type);
        for (name, value) in headers {
            post = post.header(name, value);
        }
        post.body(body.to_owned()).send().await.status().as_u16()
    };
    let delete = async || {
        let delete = client.request(Method::DELETE, "/streams/s");
        assert_eq!(delete.send().await.status(), 204);
    };
    create("application/json").await;
    log.remember("s").await;
    assert_eq!(append("application/json", "[1]", &[]).await, 204);

    // Another stream of another type has the name now.
    delete().await;
    create("text/plain").await;
    assert_eq!(append("application/json", "1", &[]).await, 409);
    assert_eq!(append("text/plain", "a", &[]).await, 204);
    // And one of the same type.
    delete().await;
    create("application/json").await;
    let producer = [
        ("producer-id", "p"),
        ("producer-epoch", "0"),
        ("producer-seq", "0"),
    ];
    assert_eq!(append("application/json", "[2, 3]", &producer).await, 200);
    assert_eq!(append("application/json", "[2, 3]", &producer).await, 204);
    let read = client.get("/streams/s?live=false").send().await;
    assert_eq!(read.json::<serde_json::Value>().await, json!([2, 3]));

    // It is closed, and the hub doesn't know yet. That takes precedence over an invalid body.
    log.remember("s").await;
    assert_eq!(
        append("application/json", "4", &[("stream-closed", "true")]).await,
        204
    );
    assert_eq!(append("application/json", "5", &[]).await, 409);
    assert_eq!(append("application/json", "no JSON", &[]).await, 409);

    // None has the name.
    delete().await;
    assert_eq!(append("application/json", "6", &[]).await, 404);
    let creating = [("stream-create", "true")];
    assert_eq!(append("application/json", "7", &creating).await, 201);
    let read = client.get("/streams/s?live=false").send().await;
    assert_eq!(read.json::<serde_json::Value>().await, json!([7]));
}
