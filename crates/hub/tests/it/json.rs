//! JSON in requests and responses: byte order marks, duplicate names, and line separators.

use http::Method;
use serde_json::{Value, json};

use crate::Server;

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// Splits lines as Python's `str.splitlines` and therefore httpx's `iter_lines` do.
fn split(text: &str) -> Vec<&str> {
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    text.split_terminator(ends).collect()
}

/// Text with all characters that some readers treat as line separators, and its JSON form.
const TEXT: &str = "a\u{2028}b\u{2029}c\u{85}d";
const QUOTED: &str = r#""a\u2028b\u2029c\u0085d""#;

#[tokio::test]
async fn a_byte_order_mark_before_a_body_is_ignored() {
    for server in Server::of_each_kind() {
        server.put_json("a", "\u{feff}[1]").await;
        server.post_json("a", "\u{feff}2").await;
        server.post_json("a", "\u{feff} [3, 4]").await;
        let lines = server.post("a", NDJSON, "\u{feff}5\n6\n").await;
        assert_eq!(lines.json::<Value>().await["appended"], 2);
        let none = server.post("a", NDJSON, "\u{feff}").await;
        assert_eq!(none.json::<Value>().await["appended"], 0);
        assert_eq!(server.get("a").send().await.text().await, "[1,2,3,4,5,6]");
        for (content_type, body) in [
            (JSON, "\u{feff}"),
            (JSON, "\u{feff}\u{feff}1"),
            (JSON, "[\u{feff}1]"),
            (NDJSON, "\n\u{feff}1\n"),
            (NDJSON, "\u{feff}\u{feff}1\n"),
        ] {
            let refused = server.post("a", content_type, body).await;
            assert_eq!(refused.status(), 400, "{content_type} {body:?}");
        }
        // In text it is a character.
        server.put("t", "text/plain", "\u{feff}a").await;
        assert_eq!(server.get("t").send().await.text().await, "\u{feff}a");
    }
}

#[tokio::test]
async fn a_byte_order_mark_before_a_schema_is_ignored() {
    let server = Server::new();
    let put = server
        .request(Method::PUT, "a")
        .header("content-type", JSON);
    let put = put.header("stream-schema", "%EF%BB%BF%7B%22type%22%3A%22integer%22%7D");
    assert_eq!(put.send().await.status(), 201);
    assert_eq!(server.post("a", JSON, "\"x\"").await.status(), 422);
}

#[tokio::test]
async fn no_reader_finds_more_lines_than_there_are_messages() {
    for server in Server::of_each_kind() {
        let raw = format!("\"{TEXT}\"");
        server
            .put_json("a", &format!("[{raw}, {{{raw}:{raw}}}]"))
            .await;
        server.post_json("a", &raw).await;
        server.post_json("a", &format!("[\n{raw},\n1]")).await;
        server.post("a", NDJSON, &format!("{raw}\n{raw}\n")).await;
        let object = format!("{{{QUOTED}:{QUOTED}}}");
        let expected = [QUOTED, &object, QUOTED, QUOTED, "1", QUOTED, QUOTED];
        let lines = server.lines("a?live=false").send().await.text().await;
        assert_eq!(split(&lines), expected);
        let whole = server.get("a").send().await.text().await;
        assert_eq!(split(&whole).len(), 1);
        let values: Vec<Value> = serde_json::from_str(&whole).unwrap();
        assert_eq!(
            values[1],
            json!({TEXT: TEXT}),
            "the values are as they were"
        );
        let live = server
            .get("a?offset=-1&live=long-poll")
            .send()
            .await
            .text()
            .await;
        assert_eq!(live, whole);
    }
}

#[tokio::test]
async fn every_message_of_other_streams_is_one_line() {
    for server in Server::of_each_kind() {
        server.put("t", "text/plain", TEXT).await;
        server
            .put(
                "s",
                "text/event-stream",
                &format!("id: {TEXT}\ndata: {TEXT}\n\ndata: \"{TEXT}\"\n\n"),
            )
            .await;
        server
            .put("n", NDJSON, &format!("\"{TEXT}\"\nno JSON {TEXT}\n"))
            .await;
        let lines = async |path: &str| {
            server
                .get(&format!("{path}?format=ndjson&live=false"))
                .send()
                .await
                .text()
                .await
        };
        let text = lines("t").await;
        assert_eq!(split(&text), [QUOTED]);
        let events = lines("s").await;
        assert_eq!(
            split(&events),
            [
                format!(r#"{{"id":{QUOTED},"data":{QUOTED}}}"#),
                format!(r#"{{"data":{QUOTED}}}"#)
            ]
        );
        let ndjson = lines("n").await;
        assert_eq!(
            split(&ndjson),
            [QUOTED, &format!("\"no JSON {}", &QUOTED[1..])]
        );
        // As an event, text is unchanged.
        let event = server.events("t?live=false").send().await.text().await;
        assert!(event.contains(&format!("data: {TEXT}\n")), "{event}");
    }
}

#[tokio::test]
async fn every_event_of_many_streams_is_one_line() {
    for server in Server::of_each_kind() {
        // U+0085 is a control character, which names can't contain.
        let name = "x%E2%80%A8y%E2%80%A9z";
        server.put_json(name, &format!("\"{TEXT}\"")).await;
        server.put(&format!("{name}t"), "text/plain", TEXT).await;
        server
            .put(
                &format!("{name}s"),
                "text/event-stream",
                &format!("data: {TEXT}\n\n"),
            )
            .await;
        server
            .put(&format!("{name}n"), NDJSON, &format!("\"{TEXT}\"\n"))
            .await;
        let all = server
            .client
            .get("/events?stream=**&live=false")
            .accept(headwater::Format::Ndjson);
        let all = all.send().await.text().await;
        let lines = split(&all);
        assert_eq!(lines.len(), 4, "{all}");
        for line in lines {
            let event: Value = serde_json::from_str(line).unwrap();
            assert!(
                event["stream"]
                    .as_str()
                    .unwrap()
                    .starts_with("x\u{2028}y\u{2029}z")
            );
        }
        let listing = server.client.get("/streams").send().await.text().await;
        assert_eq!(split(&listing).len(), 1, "{listing}");
        assert_eq!(
            serde_json::from_str::<Value>(&listing).unwrap()["streams"][0]["path"],
            "x\u{2028}y\u{2029}z"
        );
    }
}

#[tokio::test]
async fn problems_are_one_line() {
    let server = Server::new();
    let missing = server.get("x%E2%80%A8y%E2%80%A9z").send().await;
    assert_eq!(missing.status(), 404);
    let text = missing.text().await;
    assert_eq!(split(&text).len(), 1, "{text}");
    let bad = server
        .client
        .get("/events?stream=%E2%80%A9&after=%C2%85")
        .send()
        .await;
    assert_eq!(bad.status(), 400);
    assert_eq!(split(&bad.text().await).len(), 1);
}

const REPEATED: [(&str, &str); 5] = [
    (r#"{"id":1,"id":2}"#, "#/id"),
    (r#"{"id":1,"\u0069d":1}"#, "#/id"),
    (r#"{"id":1,"a":{"b":[0,{"c":1,"c":1}]}}"#, "#/a/b/1/c"),
    (r#"{"id":1,"\u00e9":1,"é":1}"#, "#/%C3%A9"),
    (r#"{"id":1,"":1,"":1}"#, "#/"),
];

fn schema() -> String {
    let schema = r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#;
    percent_encoding::utf8_percent_encode(schema, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test]
async fn a_duplicate_name_is_refused_if_there_is_a_schema() {
    for server in Server::of_each_kind() {
        let put = async |path: &str, body: &str| {
            let put = server
                .request(Method::PUT, path)
                .header("content-type", JSON);
            put.header("stream-schema", &schema())
                .body(body.to_owned())
                .send()
                .await
        };
        assert_eq!(put("a", "[]").await.status(), 201);
        let fork = server
            .request(Method::PUT, "f")
            .header("stream-forked-from", "/streams/a");
        assert_eq!(fork.send().await.status(), 201);
        for (message, pointer) in REPEATED {
            let fork = server
                .request(Method::PUT, "g")
                .header("stream-forked-from", "/streams/a");
            let fork = fork.header("content-type", JSON).body(message).send();
            for refused in [
                server.post("a", JSON, message).await,
                server.post("a", JSON, &format!("[{message}]")).await,
                server.post("a", NDJSON, &format!("{message}\n")).await,
                server.post("f", JSON, message).await,
                put("new", message).await,
                fork.await,
            ] {
                assert_eq!(refused.status(), 422, "{message}");
                let problem = refused.json::<Value>().await;
                assert_eq!(problem["errors"][0]["pointer"], pointer, "{message}");
            }
        }
        let lines = server
            .post("a", NDJSON, "{\"id\":1}\n{\"id\":1,\"id\":1}\n")
            .await;
        let problem = lines.json::<Value>().await;
        assert_eq!(
            (&problem["status"], &problem["line"], &problem["appended"]),
            (&json!(422), &json!(2), &json!(1))
        );
        assert_eq!(server.get("a").send().await.text().await, r#"[{"id":1}]"#);
        assert_eq!(server.get("new").send().await.status(), 404);
        // Without a schema, only the grammar of JSON applies.
        server.put_json("plain", REPEATED[0].0).await;
    }
}
