use axum::http::Method;
use headwater::{Format, OpenApi, test::TestClient};
use headwater_log::MemoryLog;
use serde_json::{Value, json};

use super::*;

/// Returns a chat whose upstream is a stand-in on its own port, and the stand-in's URL.
async fn chat() -> (TestClient, String) {
    let upstream = start_stand_in(10_000).await.unwrap();
    (chat_over(&upstream).await, upstream)
}

async fn chat_over(upstream: &str) -> TestClient {
    let model = Model {
        url: format!("{upstream}/v1/chat/completions"),
        key: None,
        name: "any".to_owned(),
    };
    let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
    let hub = hub(Arc::clone(&log), &model).unwrap();
    let client = TestClient::new(app(&hub, log, model));
    let opened = client.request(Method::PUT, "/chats/tea").send().await;
    assert_eq!(opened.status(), StatusCode::NO_CONTENT);
    client
}

async fn calls(upstream: &str) -> Value {
    let calls = headwater_client::get(format!("{upstream}/calls"));
    calls.value::<Value>().await.unwrap()["calls"].clone()
}

/// Asks a question. Returns the path of the answer's stream.
async fn ask(chat: &TestClient, id: &str, text: &str) -> String {
    let question = json!({"id": id, "text": text});
    let asked = chat
        .post("/chats/tea/messages")
        .json(&question)
        .send()
        .await;
    let entry: Value = asked.json().await;
    assert_eq!(entry["type"], "answer", "{entry}");
    entry["stream"].as_str().unwrap().to_owned()
}

/// Returns the complete text of an answer.
async fn said(chat: &TestClient, stream: &str) -> String {
    let mut chunks = chat.get(stream).accept(Format::Sse).stream::<Value>().await;
    let mut said = String::new();
    while let Some(chunk) = chunks.next().await {
        let delta = &chunk["choices"][0]["delta"];
        said += delta["content"].as_str().unwrap_or_default();
    }
    said
}

async fn entries(chat: &TestClient) -> Vec<Value> {
    let entries = chat.get("/streams/chats/tea").send().await;
    entries.json().await
}

#[tokio::test]
async fn a_repeated_question_appends_nothing_and_calls_no_model() {
    let (chat, upstream) = chat().await;
    let (first, second) = tokio::join!(ask(&chat, "1", "Where to?"), ask(&chat, "1", "Where to?"));
    let third = ask(&chat, "1", "Where to?").await;
    assert_eq!((&first, &second), (&third, &third));
    let said = said(&chat, &first).await;
    assert!(said.starts_with("You asked: “Where to?” "), "{said}");
    assert!(said.ends_with("of most web pages."), "{said}");
    let expected = json!([
        {"type": "question", "id": "1", "text": "Where to?"},
        {"type": "answer", "id": "1", "to": "1", "stream": "/streams/chats/tea/answers/1"},
    ]);
    assert_eq!(Value::from(entries(&chat).await), expected);
    assert_eq!(calls(&upstream).await, 1);
}

#[tokio::test]
async fn the_model_receives_the_conversation() {
    let (chat, upstream) = chat().await;
    let first = ask(&chat, "1", "Where from?").await;
    said(&chat, &first).await;
    let second = ask(&chat, "2", "Where to?").await;
    // The stand-in has a different answer for each question of a chat.
    let second = said(&chat, &second).await;
    assert!(second.contains("Water finds its way"), "{second}");
    assert_eq!(calls(&upstream).await, 2);
}

#[tokio::test]
async fn asking_again_adds_another_answer_to_the_same_question() {
    let (chat, upstream) = chat().await;
    ask(&chat, "1", "Where to?").await;
    let again = chat.post("/chats/tea/messages/1/again");
    let entry: Value = again.json(&json!({"id": "2"})).send().await.json().await;
    let expected =
        json!({"type": "answer", "id": "2", "to": "1", "stream": "/streams/chats/tea/answers/2"});
    assert_eq!(entry, expected);
    let said = said(&chat, "/streams/chats/tea/answers/2").await;
    assert!(said.starts_with("You asked: “Where to?” "), "{said}");
    assert_eq!(entries(&chat).await.len(), 3);
    assert_eq!(calls(&upstream).await, 2);
}

#[tokio::test]
async fn a_refusal_by_the_model_is_stored_as_an_entry() {
    // The stand-in serves nothing at this path.
    let chat = chat_over(&format!("{}/elsewhere", start_stand_in(1).await.unwrap())).await;
    let question = json!({"id": "1", "text": "Where to?"});
    let asked = chat
        .post("/chats/tea/messages")
        .json(&question)
        .send()
        .await;
    let entry: Value = asked.json().await;
    assert_eq!(entry["type"], "failure", "{entry}");
    assert_eq!(entry["problem"]["upstream_status"], 404, "{entry}");
    assert_eq!(entries(&chat).await[1], entry);
}

#[tokio::test]
async fn missing_chats_and_answers_are_not_found() {
    let (chat, upstream) = chat().await;
    for (path, body) in [
        (
            "/chats/coffee/messages",
            json!({"id": "1", "text": "Where to?"}),
        ),
        ("/chats/tea/messages/7/again", json!({"id": "1"})),
        ("/chats/tea/answers/7/stop", json!({})),
    ] {
        let answer = chat.post(path).json(&body).send().await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(calls(&upstream).await, 0);
}

#[tokio::test]
async fn the_streams_are_read_only() {
    let (chat, _) = chat().await;
    let entry = json!({"type": "question", "id": "1", "text": "forged"});
    let written = chat.post("/streams/chats/tea").json(&entry).send().await;
    assert_eq!(written.status(), StatusCode::METHOD_NOT_ALLOWED);
    for method in [Method::PUT, Method::DELETE] {
        let written = chat.request(method, "/streams/chats/tea").send().await;
        assert_eq!(written.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(entries(&chat).await, [Value::Null; 0]);
}

#[tokio::test]
async fn the_stand_in_implements_the_api() {
    let stand_in = TestClient::new(stand_in::app(10_000));
    let ask = |stream: bool| {
        let messages = [json!({"role": "user", "content": "Where to?"})];
        stand_in
            .post("/v1/chat/completions")
            .json(&json!({"model": "brook", "messages": messages, "stream": stream}))
            .send()
    };
    assert_eq!(ask(false).await.status(), StatusCode::BAD_REQUEST);
    let answer = ask(true).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await;
    let first = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"brook","choices":[{"index":0,"delta":{"content":"You "},"finish_reason":null}]}"#;
    assert!(text.starts_with(first), "{text}");
    assert!(
        text.contains(r#""finish_reason":"stop"}],"usage":{"#),
        "{text}"
    );
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let calls: Value = stand_in.get("/calls").send().await.json().await;
    assert_eq!(calls, json!({"calls": 1, "open": 0}));
}

#[tokio::test]
async fn the_document_describes_the_write_operations() {
    let model = Model {
        url: "http://127.0.0.1:1/".to_owned(),
        key: None,
        name: String::new(),
    };
    let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
    let hub = hub(Arc::clone(&log), &model).unwrap();
    let document = app(&hub, log, model).openapi(OpenApi::V3_2);
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/",
        "/chats/{chat}",
        "/chats/{chat}/messages",
        "/chats/{chat}/messages/{message}/again",
        "/chats/{chat}/answers/{answer}/stop",
    ];
    assert_eq!(paths, expected);
}
