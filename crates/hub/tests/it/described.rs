use headwater::OpenApi;
use headwater_hub::Hub;
use headwater_log::MemoryLog;
use serde_json::Value;

use crate::Server;

#[test]
fn every_operation_says_what_it_is_and_what_comes_back() {
    for version in [OpenApi::V3_1, OpenApi::V3_2] {
        let document = Hub::new(std::sync::Arc::new(MemoryLog::default()))
            .app()
            .openapi(version);
        let operations = document["paths"]["/streams/{path}"]
            .as_object()
            .expect("the path is there");
        let methods: Vec<_> = operations.keys().collect();
        assert_eq!(methods, ["get", "head", "put", "post", "delete"]);
        for (method, operation) in operations {
            assert!(operation["summary"].is_string(), "{method}");
            assert!(
                operation["responses"]
                    .as_object()
                    .is_some_and(|replies| replies.len() > 2),
                "{method}"
            );
            for parameter in operation["parameters"].as_array().expect("there are some") {
                assert!(
                    parameter["description"].is_string(),
                    "{method}: {parameter}"
                );
            }
        }
        let read = &operations["get"]["responses"]["200"];
        assert!(read["content"]["text/event-stream"].is_object());
        assert!(read["headers"]["Stream-Next-Offset"]["description"].is_string());
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served() {
    let server = Server::new();
    let document = server
        .client
        .get("/openapi.json")
        .send()
        .await
        .json::<Value>()
        .await;
    assert_eq!(document["openapi"], "3.2.0");
    assert_eq!(server.client.get("/docs").send().await.status(), 200);
}

#[test]
fn a_gather_says_what_it_takes_and_what_comes_back() {
    let app = Hub::new(std::sync::Arc::new(MemoryLog::default())).app();
    let document = app.openapi(OpenApi::V3_2);
    let gather = &document["paths"]["/gather"]["post"];
    let body = &gather["requestBody"]["content"];
    let call = &body["application/json"]["schema"]["items"];
    assert_eq!(call["$ref"], "#/components/schemas/Call");
    assert!(body["application/x-ndjson"].is_object());
    let result = &gather["responses"]["200"]["content"]["application/x-ndjson"]["itemSchema"];
    assert_eq!(result["$ref"], "#/components/schemas/GatherResult");
    for status in ["202", "400", "403", "409", "413", "415", "429"] {
        assert!(gather["responses"][status].is_object(), "{status}");
    }
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Call"]["required"], serde_json::json!(["url"]));
    let required = serde_json::json!(["index", "ms", "attempts"]);
    assert_eq!(schemas["GatherResult"]["required"], required);
}
