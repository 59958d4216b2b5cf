use std::time::Duration;

use headwater::test::TestResponse;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::Server;

fn encoded(schema: &Value) -> String {
    utf8_percent_encode(&schema.to_string(), NON_ALPHANUMERIC).to_string()
}

fn order() -> Value {
    json!({
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "integer"}, "note": {"type": "string", "maxLength": 5}},
    })
}

async fn put(server: &Server, path: &str, schema: &Value, body: &str) -> TestResponse {
    let put = server
        .request(Method::PUT, path)
        .header("content-type", "application/json");
    put.header("stream-schema", &encoded(schema))
        .body(body.to_owned())
        .send()
        .await
}

#[tokio::test]
async fn an_invalid_message_refuses_its_whole_request() {
    let server = Server::new();
    assert_eq!(put(&server, "a", &order(), "").await.status(), 201);
    server
        .post_json("a", r#"[{"id":1},{"id":2,"note":"short"}]"#)
        .await;
    let bad = r#"[{"id":3},{"id":"4","note":"too long"},{}]"#;
    let refused = server.post("a", "application/json", bad).await;
    assert_eq!(refused.status(), 422);
    let problem = refused.json::<Value>().await;
    assert_eq!(problem["index"], 1);
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| &e["pointer"])
        .collect();
    assert_eq!(pointers, [&json!("#/id"), &json!("#/note")]);
    assert_eq!(
        server.get("a").send().await.text().await,
        r#"[{"id":1},{"id":2,"note":"short"}]"#
    );
}

#[tokio::test]
async fn first_messages_and_lines_are_checked_too() {
    let server = Server::new();
    assert_eq!(
        put(&server, "a", &order(), r#"[{"id":1},{}]"#)
            .await
            .status(),
        422
    );
    assert_eq!(
        server.get("a").send().await.status(),
        404,
        "nothing was created"
    );
    assert_eq!(
        put(&server, "a", &order(), r#"[{"id":1}]"#).await.status(),
        201
    );
    let refused = server
        .post("a", "application/x-ndjson", "{\"id\":2}\n{}\n")
        .await;
    assert_eq!(refused.status(), 422);
    let problem = refused.json::<Value>().await;
    assert_eq!(
        (&problem["line"], &problem["appended"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn a_schema_is_one_of_a_streams_settings() {
    let server = Server::new();
    assert_eq!(put(&server, "a", &order(), "").await.status(), 201);
    assert_eq!(put(&server, "a", &order(), "").await.status(), 200);
    assert_eq!(
        put(&server, "a", &json!({"type": "object"}), "")
            .await
            .status(),
        409
    );
    assert_eq!(server.put("a", "application/json", "").await.status(), 409);
    let head = server.request(Method::HEAD, "a").send().await;
    assert_eq!(crate::header(&head, "stream-schema"), encoded(&order()));

    let fork = server
        .request(Method::PUT, "b")
        .header("stream-forked-from", "/streams/a");
    assert_eq!(fork.send().await.status(), 201);
    assert_eq!(
        server.post("b", "application/json", "{}").await.status(),
        422
    );
}

#[tokio::test]
async fn an_invalid_schema_and_one_for_other_types_are_refused() {
    let server = Server::new();
    for bad in [json!({"type": 7}), json!({"$ref": "https://example.com/x"})] {
        assert_eq!(put(&server, "a", &bad, "").await.status(), 400, "{bad}");
    }
    let put = server
        .request(Method::PUT, "a")
        .header("stream-schema", "%7Boops");
    assert_eq!(
        put.header("content-type", "application/json")
            .send()
            .await
            .status(),
        400
    );
    let put = server
        .request(Method::PUT, "a")
        .header("stream-schema", "%7B%7D");
    assert_eq!(
        put.header("content-type", "text/plain")
            .send()
            .await
            .status(),
        400
    );
}

/// Returns a schema that takes 900 steps for each item.
fn any_of_constants() -> Value {
    let branches: Vec<_> = (0..900).map(|n| json!({"const": n})).collect();
    json!({"items": {"anyOf": branches}})
}

#[tokio::test]
async fn a_check_with_too_many_steps_is_refused_and_blocks_no_others() {
    let server = Server::new();
    let created = put(&server, "a", &any_of_constants(), "").await;
    assert_eq!(created.status(), 201);
    let one_message = format!("[[{}899]]", "899,".repeat(20_000));
    let many_messages = format!("[{}[899]]", "[899],".repeat(9999));
    let lines = "[899]\n".repeat(20_000);
    for (content_type, body) in [
        ("application/json", one_message),
        ("application/json", many_messages),
        ("application/x-ndjson", lines),
    ] {
        let checked = server.post("a", content_type, &body);
        // On one thread, so each response to this request arrives while the check runs.
        let mut answers = 0;
        let others = async {
            loop {
                assert_eq!(server.get("a").send().await.status(), 200);
                answers += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let refused = tokio::select! {
            refused = checked => refused,
            () = others => unreachable!("it goes on until the check ends"),
        };
        assert_eq!(refused.status(), 422, "{content_type}");
        let problem = refused.json::<Value>().await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("the check was given up after"), "{detail}");
        assert!(answers > 3, "{answers}");
    }
    let appended = server.post("a", "application/json", "[[899, 0, 1]]").await;
    assert_eq!(appended.status(), 204, "what it takes is within any budget");
}

#[tokio::test]
async fn ordinary_messages_of_the_same_size_are_accepted() {
    let server = Server::new();
    let items = json!({"items": {"type": "integer", "minimum": -5}});
    assert_eq!(put(&server, "a", &items, "").await.status(), 201);
    let message = format!("[[{}-1]]", "-1,".repeat(1_000_000));
    assert_eq!(
        server
            .post("a", "application/json", &message)
            .await
            .status(),
        204
    );
    let lines = "[-1]\n".repeat(20_000);
    assert_eq!(
        server
            .post("a", "application/x-ndjson", &lines)
            .await
            .status(),
        200
    );
}
