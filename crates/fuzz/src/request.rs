//! A request to an operation: a path, a query and cookies in the first three lines, then the body.

use std::{cell::OnceCell, collections::BTreeMap};

use headwater::{App, Cookies, Headers, Json, Path, Query, post, test::TestClient};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::memory::Meter;

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Wanted {
    #[schemars(range(min = 2, max = 7))]
    a: u8,
    b: Option<f64>,
    #[serde(default)]
    c: Vec<i16>,
    #[schemars(length(max = 3))]
    d: Option<String>,
    e: Option<bool>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type")]
enum Tree {
    Leaf {
        value: i32,
    },
    Branch {
        left: Box<Tree>,
        right: Box<Tree>,
        names: BTreeMap<String, u8>,
    },
}

async fn handle(
    _: Path<(u16, String)>,
    _: Query<Wanted>,
    _: Headers<Wanted>,
    _: Cookies<Wanted>,
    Json(tree): Json<Tree>,
) -> Json<Tree> {
    Json(tree)
}

thread_local! {
    static CLIENT: OnceCell<(tokio::runtime::Runtime, TestClient)> = const { OnceCell::new() };
}

/// Sends the request to an operation, and checks that the response is one that it documents.
///
/// # Panics
/// If it isn't.
pub fn request(input: &[u8]) {
    let mut lines = input.splitn(4, |byte| *byte == b'\n');
    let mut text = || {
        let line = lines.next().unwrap_or_default();
        std::str::from_utf8(line).ok()
    };
    let (Some(path), Some(query), Some(cookies)) = (text(), text(), text()) else {
        return;
    };
    let uri = format!("/{path}?{query}");
    if uri.parse::<http::Uri>().is_err() || http::HeaderValue::from_str(cookies).is_err() {
        return;
    }
    let body = lines.next().unwrap_or_default();
    CLIENT.with(|client| {
        let (runtime, client) = client.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            let app = App::new("", "").route("/{n}/{name}", post(handle));
            (runtime.expect("a runtime"), TestClient::new(app))
        });
        runtime.block_on(async {
            let request = client
                .post(&uri)
                .header("content-type", "application/json")
                .header("cookie", cookies)
                .header("a", cookies);
            let request = request.body(body.to_vec());
            let meter = Meter::start();
            let response = request.send().await;
            // Faults are reported up to a number, each with its text and location.
            meter.check(input.len(), 512 << 10, 512);
            match response.status().as_u16() {
                200 | 400 | 404 => {}
                // `/` and the docs pages take GET alone. RFC 9110 §15.5.6: a 405 has an `Allow` header.
                405 => assert!(response.headers().contains_key("allow")),
                422 => {
                    let problem: Value = response.json().await;
                    assert!(
                        problem["errors"]
                            .as_array()
                            .is_some_and(|errors| !errors.is_empty())
                    );
                }
                status => panic!("status {status}"),
            }
        });
    });
}
