//! Exports and imports have the streams that are granted.

use headwater_log::{Create, Settings};
use serde_json::json;

use super::*;

async fn names(hub: &Guarded, granted: &str) -> (String, Vec<String>) {
    let request = hub.as_one(Method::GET, "/export", granted);
    let response = request.send().await;
    assert_eq!(response.status(), 200);
    let lines = response.text().await;
    let ends = lines.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).expect("it is JSON");
        Some(line["end"].as_str()?.to_owned())
    });
    let ends = ends.collect();
    (lines, ends)
}

async fn import(hub: &Guarded, granted: &str, lines: &str) -> u16 {
    let request = hub.as_one(Method::POST, "/import", granted);
    let response = request.body(lines.to_owned()).send().await;
    response.status().as_u16()
}

#[tokio::test]
async fn only_the_streams_that_are_granted_are_moved() {
    let (hub, other) = (Guarded::new(), Guarded::new());
    hub.create(&["a/1", "b/1"]).await;
    for name in ["__ds/relay/x", "__ds/filling/x", "__ds/journal/0"] {
        let name = name.parse().expect("it is a name");
        let create = Create::new(Settings::of_type("application/json"));
        hub.server
            .log
            .create(&name, create)
            .await
            .expect("it is new");
    }
    let (all, ends) = names(&hub, "admin:**").await;
    assert_eq!(ends, ["__ds/filling/x", "__ds/relay/x", "a/1", "b/1"]);
    let (some, ends) = names(&hub, "admin:a/**").await;
    assert_eq!(ends, ["a/1"]);
    let request = hub.as_one(Method::GET, "/export?stream=b/1", "admin:a/**");
    assert_eq!(code(request.send().await).await, "not_granted");

    let request = other.as_one(Method::POST, "/import", "admin:b/**");
    let refused = request.body(some.clone()).send().await;
    assert_eq!(refused.status(), 403);
    let problem = refused.json::<Value>().await;
    assert_eq!(
        (&problem["stream"], &problem["line"]),
        (&json!("a/1"), &json!(2))
    );
    assert_eq!(import(&other, "admin:a/**", &some).await, 200);
    // The hub's own streams need everything.
    assert_eq!(import(&other, "admin:a/**,b/**", &all).await, 400);
    assert_eq!(import(&other, "admin:**", &all).await, 200);
    let open = Server::new();
    let request = open.client.request(Method::POST, "/import").body(all);
    assert_eq!(request.send().await.status(), 400);
}
