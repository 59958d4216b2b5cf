//! Parameters of an app's operations: how they are read, refused and documented.

use std::panic::AssertUnwindSafe;

use headwater::{App, OpenApi, Path, Problem, Query, StatusCode, get, test::TestClient};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::Kind;

#[tokio::test]
async fn a_missing_parameter_has_no_value_and_a_repeated_one_all_its_values() {
    #[derive(Deserialize, JsonSchema)]
    struct Page {
        #[serde(rename = "text")]
        _text: String,
        #[serde(rename = "count")]
        _count: u64,
    }
    let app = App::new("Pages", "1").route("/", get(async |Query(_): Query<Page>| ()));
    let client = TestClient::new(app);
    let problem: Value = client.get("/?count=1&count=2").send().await.json().await;
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(errors[1]["value"], json!([1, 2]));
    assert_eq!(
        errors[0],
        json!({
            "in": "query",
            "name": "text",
            "detail": "the property \"text\" is missing",
            "allowed": {"required": ["text"]},
        })
    );
}

#[tokio::test]
async fn an_invalid_encoding_is_refused_in_the_query_as_in_the_path() {
    #[derive(Deserialize, JsonSchema)]
    struct Tag {
        tag: String,
    }
    let app = App::new("Tags", "1")
        .route("/tags", get(async |Query(tag): Query<Tag>| tag.tag))
        .route("/tags/{tag}", get(async |Path(tag): Path<String>| tag));
    let client = TestClient::new(app);
    for path in [
        "/tags?tag=%ff",
        "/tags?%ff=a&tag=b",
        "/tags?tag=%c3&a=%a4",
        "/tags/%ff",
    ] {
        let response = client.get(path).send().await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(response.headers()["content-type"], Problem::CONTENT_TYPE);
    }
    for (path, text) in [("/tags?tag=%c3%a4+%2B", "ä +"), ("/tags?tag=%zz", "%zz")] {
        assert_eq!(client.get(path).send().await.text().await, text);
    }
}

#[tokio::test]
async fn an_enum_with_a_tag_is_documented_by_all_its_variants() {
    #[derive(Deserialize, JsonSchema)]
    #[serde(tag = "kind")]
    enum Shape {
        Circle { size: u32 },
        Square { size: u32, turned: Option<bool> },
    }
    async fn draw(Query(shape): Query<Shape>) -> String {
        match shape {
            Shape::Circle { size } => format!("circle {size}"),
            Shape::Square { size, turned } => format!("square {size} {turned:?}"),
        }
    }
    let app = App::new("Shapes", "1").route("/", get(draw));
    let document = app.openapi(OpenApi::V3_2);
    let parameters = &document["paths"]["/"]["get"]["parameters"];
    let found: Vec<_> = (parameters.as_array().unwrap().iter())
        .map(|parameter| {
            let name = parameter["name"].as_str().unwrap();
            (name, &parameter["required"], &parameter["schema"]["type"])
        })
        .collect();
    let yes = json!(true);
    assert_eq!(
        found,
        [
            ("kind", &yes, &json!("string")),
            ("size", &yes, &json!("integer")),
            ("turned", &Value::Null, &json!("boolean")),
        ]
    );
    assert_eq!(parameters[0]["schema"]["enum"], json!(["Circle", "Square"]));
    let client = TestClient::new(app);
    let text = client
        .get("/?kind=Square&size=2&turned=true")
        .send()
        .await
        .text()
        .await;
    assert_eq!(text, "square 2 Some(true)");
}

#[derive(Deserialize, JsonSchema)]
struct Inner {
    #[serde(rename = "a")]
    _a: u32,
}

/// Returns the panic of an app whose query has this type.
fn refused<T: serde::de::DeserializeOwned + JsonSchema + Send + 'static>() -> String {
    let app = App::<()>::new("", "").route("/", get(async |Query(_): Query<T>| ()));
    let panic = std::panic::catch_unwind(AssertUnwindSafe(|| app.into_router())).unwrap_err();
    *panic.downcast::<String>().unwrap()
}

#[test]
fn a_field_that_no_parameter_can_express_is_named_at_the_start() {
    #[derive(Deserialize, JsonSchema)]
    struct Deep<T> {
        #[serde(rename = "inner")]
        _inner: T,
    }
    for message in [
        refused::<Deep<Inner>>(),
        refused::<Deep<Option<Inner>>>(),
        refused::<Deep<Vec<Inner>>>(),
        refused::<Deep<Vec<Vec<u32>>>>(),
        refused::<Deep<std::collections::BTreeMap<String, u32>>>(),
    ] {
        assert!(message.starts_with("get /: "), "{message}");
        let part = "has the field `inner`, which no query parameter can express";
        assert!(message.contains(part), "{message}");
    }
    #[derive(Deserialize, JsonSchema)]
    struct Flat<T> {
        #[serde(flatten)]
        _inner: T,
    }
    fn accepted<T: serde::de::DeserializeOwned + JsonSchema + Send + 'static>() {
        let app = App::<()>::new("", "").route("/", get(async |Query(_): Query<T>| ()));
        let _ = app.into_router();
    }
    accepted::<Flat<Inner>>();
    accepted::<Deep<Vec<u32>>>();
    accepted::<Deep<Option<Vec<Kind>>>>();
    accepted::<Deep<Value>>();
}
