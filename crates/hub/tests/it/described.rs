use headwater::OpenApi;
use headwater_hub::Hub;
use headwater_log::MemoryLog;
use serde_json::Value;

use crate::{Server, header, is_built_in};

#[test]
fn every_operation_has_a_description_and_responses() {
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
            assert_eq!(
                operation["tags"],
                serde_json::json!(["streams"]),
                "{method}"
            );
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

/// Returns the parameter of an operation with a name and a place.
fn parameter<'a>(operation: &'a Value, place: &str, name: &str) -> &'a Value {
    let parameters = operation["parameters"].as_array();
    let mut parameters = parameters.expect("there are some").iter();
    parameters
        .find(|it| it["in"] == place && it["name"] == name)
        .unwrap_or_else(|| panic!("{operation} has no {name}"))
}

#[test]
fn what_is_required_is_described_as_that() {
    let hub = Hub::new(std::sync::Arc::new(MemoryLog::default()));
    let document = hub.app().openapi(OpenApi::V3_2);
    let import = &document["paths"]["/import"]["post"];
    assert_eq!(import["requestBody"]["required"], true);
    if cfg!(feature = "relay") {
        let create = &document["paths"]["/relay"]["post"];
        for (name, is_required) in [
            ("Upstream-URL", true),
            ("Upstream-Method", true),
            ("Upstream-Authorization", false),
        ] {
            let header = parameter(create, "header", name);
            assert_eq!(header["required"] == true, is_required, "{header}");
        }
        let abort = &document["paths"]["/relay/{id}"]["patch"];
        assert_eq!(parameter(abort, "query", "action")["required"], true);
    }
}

#[test]
fn the_parameters_of_live_reads_are_described() {
    let hub = Hub::new(std::sync::Arc::new(MemoryLog::default()));
    let document = hub.app().openapi(OpenApi::V3_2);
    for path in ["/streams/{path}", "/events"] {
        let read = &document["paths"][path]["get"];
        let heartbeat = parameter(read, "query", "heartbeat");
        assert_eq!(heartbeat["schema"]["type"], "number");
        let id = parameter(read, "query", "lastEventId")["description"].as_str();
        assert!(id.is_some_and(|text| text.contains("`last_event_id`")));
        let events = &read["responses"]["200"]["content"]["text/event-stream"]["itemSchema"];
        let kinds = events["oneOf"].as_array().expect("there are some");
        assert!(kinds.iter().any(|kind| kind["title"] == "Notice"));
    }
}

#[test]
fn every_429_and_503_is_described_with_retry_after() {
    for options in [
        headwater_hub::Options::new(),
        headwater_hub::Options::new().shared_log(),
    ] {
        let log = std::sync::Arc::new(MemoryLog::default());
        let document = Hub::with_options(log, options).app().openapi(OpenApi::V3_2);
        let paths = document["paths"].as_object().expect("there are some");
        let operations = paths.values().flat_map(|path| path.as_object());
        let operations: Vec<_> = operations.flatten().collect();
        let mut found = 0;
        for (method, operation) in operations {
            for status in ["429", "503"] {
                let reply = &operation["responses"][status];
                if reply.is_object() {
                    found += 1;
                    let header = &reply["headers"]["Retry-After"];
                    assert!(header.is_object(), "{method} {operation}");
                }
            }
        }
        assert!(found > 5, "{found}");
    }
}

#[test]
fn the_errors_of_forwarded_requests_are_described_on_a_shared_log() {
    let document = |options| {
        let log = std::sync::Arc::new(MemoryLog::default());
        Hub::with_options(log, options).app().openapi(OpenApi::V3_2)
    };
    let alone = document(headwater_hub::Options::new());
    let shared = document(headwater_hub::Options::new().shared_log());
    let mut operations = vec![
        ("/streams/__ds/subscriptions/{id}", "put", true),
        ("/streams/{path}", "get", true),
        ("/streams/{path}", "post", false),
        ("/events", "get", false),
    ];
    if cfg!(feature = "relay") {
        operations.extend([("/relay", "post", true), ("/relay/{id}", "patch", true)]);
    }
    if cfg!(feature = "gather") {
        operations.push(("/gather", "post", true));
    }
    for (path, method, is_forwarded) in operations {
        let shared = &shared["paths"][path][method]["responses"];
        let alone = &alone["paths"][path][method]["responses"];
        assert!(alone.is_object(), "{method} {path}");
        assert!(
            is_forwarded || alone["502"] == shared["502"],
            "{method} {path}"
        );
        for status in ["502", "503"].into_iter().filter(|_| is_forwarded) {
            let problem = &shared[status]["content"]["application/problem+json"];
            assert!(problem.is_object(), "{method} {path}: {status}");
        }
    }
}

#[cfg(feature = "relay")]
#[test]
fn relays_are_described() {
    let hub = Hub::new(std::sync::Arc::new(MemoryLog::default()));
    let document = hub.app().openapi(OpenApi::V3_2);
    let methods = |path: &str| -> Vec<String> {
        let operations = document["paths"][path].as_object();
        operations
            .expect("the path is there")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(methods("/relay"), ["post"]);
    assert_eq!(methods("/relay/{id}"), ["get", "head", "patch", "delete"]);
    let create = &document["paths"]["/relay"]["post"];
    for status in [
        "200", "201", "400", "401", "403", "409", "422", "429", "502", "504",
    ] {
        assert!(
            create["responses"][status]["description"].is_string(),
            "{status}"
        );
    }
    let location = &create["responses"]["201"]["headers"]["Location"];
    assert!(location["description"].is_string());
    assert!(document["paths"]["/relay/{id}/{rest}"].is_null());
    // Required credentials are described if there are any.
    assert!(create["security"].is_null());
    let options = headwater_hub::Options::new().relay_secret("s");
    let guarded = Hub::with_options(std::sync::Arc::new(MemoryLog::default()), options);
    let document = guarded.app().openapi(OpenApi::V3_2);
    assert!(document["paths"]["/relay"]["post"]["security"].is_array());
}

#[tokio::test]
async fn endpoints_that_are_not_built_in_are_not_described_and_not_found() {
    let server = Server::new();
    let document = Hub::new(std::sync::Arc::new(MemoryLog::default()))
        .app()
        .openapi(OpenApi::V3_2);
    for path in ["/gather", "/relay"] {
        assert_eq!(
            document["paths"][path].is_object(),
            is_built_in(path),
            "{path}"
        );
        let response = server.client.post(path).send().await;
        assert_eq!(response.status() != 404, is_built_in(path), "{path}");
        let content_type = header(&response, "content-type");
        assert!(content_type.contains("json"), "{path}: {content_type}");
    }
    let scheme = &document["components"]["securitySchemes"]["relaySecret"];
    assert!(scheme.is_null(), "there is no secret: {scheme}");
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

#[cfg(feature = "gather")]
#[test]
fn the_gather_operation_describes_parameters_and_results() {
    let app = Hub::new(std::sync::Arc::new(MemoryLog::default())).app();
    let document = app.openapi(OpenApi::V3_2);
    let gather = &document["paths"]["/gather"]["post"];
    let body = &gather["requestBody"]["content"];
    let call = &body["application/json"]["schema"]["items"];
    assert_eq!(call["$ref"], "#/components/schemas/Listed");
    assert!(body["application/x-ndjson"].is_object());
    let result = &gather["responses"]["200"]["content"]["application/x-ndjson"]["itemSchema"];
    assert_eq!(result["$ref"], "#/components/schemas/GatherResult");
    for status in ["202", "400", "403", "409", "413", "415", "429"] {
        assert!(gather["responses"][status].is_object(), "{status}");
    }
    let schemas = &document["components"]["schemas"];
    let listed = &schemas["Listed"]["anyOf"];
    assert_eq!(listed[0]["type"], "string");
    assert_eq!(listed[1]["$ref"], "#/components/schemas/Call");
    assert_eq!(schemas["Call"]["required"], serde_json::json!(["url"]));
    let required = serde_json::json!(["index", "ms", "attempts"]);
    assert_eq!(schemas["GatherResult"]["required"], required);
}
