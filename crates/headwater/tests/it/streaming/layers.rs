//! An app's layers around a stream.

use super::*;

/// A layer of an app that sees the response and wraps its body, like compression or CORS.
async fn stamp(mut response: axum::response::Response) -> axum::response::Response {
    let content_type = response.headers()["content-type"].clone();
    response.headers_mut().insert("x-seen", content_type);
    response.map(|body| {
        let stamped = body
            .into_data_stream()
            .map(|chunk| chunk.map(|bytes| [b"> ", &bytes[..]].concat()));
        axum::body::Body::from_stream(stamped)
    })
}

#[tokio::test]
async fn layers_see_the_final_response_and_may_wrap_its_body() {
    let app = Router::new()
        .route("/", get(async || Streaming::new(stream::iter([1]))))
        .layer(axum::middleware::map_response(stamp));
    let response = TestClient::new(app).get("/?format=json").send().await;
    assert_eq!(response.headers()["x-seen"], "application/json");
    assert_eq!(response.text().await, "> [1\n]\n");
}

#[tokio::test]
async fn an_early_error_keeps_the_headers_that_layers_have_set() {
    let app = Router::new()
        .route(
            "/",
            get(async || {
                let failure = Problem::new(StatusCode::BAD_GATEWAY);
                Streaming::<u64>::try_new(stream::iter([Err::<u64, _>(failure)]))
            }),
        )
        .layer(axum::middleware::map_response(stamp));
    let response = TestClient::new(app).get("/").send().await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers()["x-seen"], "application/x-ndjson");
    assert_eq!(response.headers().get_all("content-type").iter().count(), 1);
    assert_eq!(
        response.text().await,
        "{\"title\":\"Bad Gateway\",\"status\":502}\n"
    );
}

#[tokio::test]
async fn the_question_mark_converts_rejections_to_problems() {
    use axum::extract::{Query, rejection::QueryRejection};
    #[derive(serde::Deserialize)]
    struct Asked {
        count: u64,
    }
    let client = client(async |asked: Result<Query<Asked>, QueryRejection>| {
        let Query(Asked { count }) = asked?;
        Ok::<_, Problem>(Streaming::new(stream::iter(0..count)))
    });
    assert_eq!(
        client.get("/?count=2").stream::<u64>().await.take(9).await,
        [0, 1]
    );
    let response = client.get("/?count=many").send().await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem: serde_json::Value = response.json().await;
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("count: invalid digit"),
        "{problem}"
    );
}

#[tokio::test]
async fn without_the_layer_every_client_receives_ndjson() {
    use http_body_util::BodyExt;
    use tower_service::Service;
    let mut app: Router =
        Router::new().route("/", get(async || Streaming::new(stream::iter([1, 2]))));
    let request = http::Request::get("/").header("accept", "text/event-stream");
    let response = app
        .call(request.body(axum::body::Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "1\n2\n"
    );
}
