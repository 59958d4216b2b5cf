//! Apps that document themselves: the content of their documents, and the validation of requests
//! against it.

use std::sync::Arc;

use axum::{Router, extract::State};
use futures_util::stream;
use headwater::{
    App, Cookies, Created, Event, Events, Format, Headers, In, Item, Json, LastEventId, OpenApi,
    Operation, OperationInput, Path, Problem, Query, SecurityScheme, StatusCode, Streaming, delete,
    get, post, test::TestClient,
};
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Pace {
    /// Number of items.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000))]
    count: u64,
    /// Kinds to include.
    #[serde(default)]
    kind: Vec<Kind>,
    after: Option<u64>,
}

fn three() -> u64 {
    3
}

#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Bid,
    Ask,
}

/// A price at a point in time.
#[derive(Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
struct Price {
    /// Symbol of the item.
    #[schemars(length(min = 1, max = 8), regex(pattern = "^[A-Z]+$"))]
    symbol: String,
    #[schemars(range(min = 0.0))]
    price: f64,
    #[serde(default)]
    volume: u32,
}

impl Price {
    fn of(symbol: &str) -> Self {
        Self {
            symbol: symbol.to_owned(),
            price: 1.5,
            volume: 2,
        }
    }
}

/// Streams prices as they change.
///
/// One symbol, live.
///
/// # Errors
/// Only network errors.
#[headwater::operation]
async fn prices(
    Path(symbol): Path<String>,
    Query(pace): Query<Pace>,
    LastEventId(last): LastEventId,
) -> Result<Streaming<Price>, Problem> {
    let _ = (last, pace.kind, pace.after);
    if symbol == "NONE" {
        return Err(Problem::not_found("there is no such symbol"));
    }
    Ok(Streaming::new(stream::iter(
        (0..pace.count).map(move |n| Item::new(Price::of(&symbol)).id(n)),
    )))
}

async fn add_price(Json(price): Json<Price>) -> Created<Json<Price>> {
    Created(Json(price))
}

#[derive(Serialize, JsonSchema, Events)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Feed {
    /// An item was traded.
    Trade {
        price: f64,
    },
    MarketClosed {
        reason: String,
    },
}

/// Streams the market's events.
#[headwater::operation]
async fn feed() -> Streaming<Event<Feed>> {
    let feed = [
        Feed::Trade { price: 1.0 },
        Feed::MarketClosed {
            reason: "night".to_owned(),
        },
    ];
    Streaming::events(stream::iter(feed))
}

#[derive(Deserialize, JsonSchema)]
struct Trace {
    x_request_id: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
struct Session {
    #[schemars(length(min = 4))]
    session: String,
}

async fn remove(
    Path((market, number)): Path<(String, u32)>,
    Headers(trace): Headers<Trace>,
    Cookies(session): Cookies<Session>,
) -> String {
    format!(
        "{market} {number} {:?} {}",
        trace.x_request_id, session.session
    )
}

struct User(String);

impl<S: Sync> axum::extract::FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.headers.get("authorization") {
            Some(_) => Ok(Self("ann".to_owned())),
            None => Err(Problem::new(StatusCode::UNAUTHORIZED)),
        }
    }
}

impl OperationInput for User {
    fn describe(operation: &mut Operation) {
        operation.security("token");
        operation.error(StatusCode::UNAUTHORIZED, "The token is missing");
    }
}

async fn me(user: User, State(names): State<Arc<str>>, Query(pace): Query<Pace>) -> String {
    format!("{} {names} {}", user.0, pace.count)
}

fn app() -> App {
    App::new("Prices", "1.2.3")
        .description("An API to test with.")
        .license("MIT", "MIT")
        .server("https://prices.example.com")
        .tag("prices", "What things cost.")
        .security_scheme(
            "token",
            SecurityScheme::bearer().description("From your account."),
        )
        .security_scheme("key", SecurityScheme::api_key(In::Header, "X-Key"))
        .route(
            "/prices/{symbol}",
            get(prices)
                .tag("prices")
                .error(StatusCode::NOT_FOUND, "There is no such symbol"),
        )
        .route(
            "/prices",
            post(add_price)
                .summary("Add a price")
                .tag("prices")
                .deprecated()
                .security("key")
                .example(Price::of("ABC"))
                .error(StatusCode::CONFLICT, "It is there already"),
        )
        .route("/feed", get(feed))
        .route("/markets/{market}/{number}", delete(remove))
        .route("/me", get(me))
        .route("/secret", get(async || "hidden").hidden())
        .with_state(Arc::from("state"))
}

fn client() -> TestClient {
    TestClient::new(app())
}

/// Compares a text with a golden file. `UPDATE_GOLDEN=1` rewrites the file.
#[track_caller]
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/it/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{path} differs from what the app says now; look at what UPDATE_GOLDEN=1 makes of it"
    );
}

#[test]
fn the_documents_match_the_golden_files() {
    golden(
        "openapi-3.2.json",
        &format!("{:#}\n", app().openapi(OpenApi::V3_2)),
    );
    golden(
        "openapi-3.1.json",
        &format!("{:#}\n", app().openapi(OpenApi::V3_1)),
    );
}

#[tokio::test]
async fn the_document_is_served_in_the_requested_version() {
    for (query, version) in [
        ("", "3.2.0"),
        ("?version=3.2", "3.2.0"),
        ("?version=3.1", "3.1.1"),
        ("?version=3.1.1", "3.1.1"),
    ] {
        let response = client().get(&format!("/openapi.json{query}")).send().await;
        assert_eq!(response.headers()["content-type"], "application/json");
        let document: Value = response.json().await;
        assert_eq!(document["openapi"], version, "{query}");
    }
    let response = client().get("/openapi.json?version=2").send().await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let without = TestClient::new(app().without_docs());
    for path in ["/openapi.json", "/docs"] {
        assert_eq!(
            without.get(path).send().await.status(),
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn all_faults_of_a_request_are_reported_together() {
    let response = client()
        .request(http::Method::DELETE, "/markets/oslo/minus")
        .header("x-request-id", "seven")
        .header("cookie", "a=b; session=abc")
        .send()
        .await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(response.headers()["content-type"], Problem::CONTENT_TYPE);
    let problem: Value = response.json().await;
    assert_eq!(problem["title"], "Unprocessable Content");
    assert_eq!(problem["detail"], "there are 3 faults in the request");
    let errors = problem["errors"].as_array().unwrap();
    let found: Vec<_> = errors
        .iter()
        .map(|error| {
            (
                error["in"].as_str().unwrap(),
                error["name"].as_str().unwrap(),
                &error["value"],
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("path", "number", &json!("minus")),
            ("header", "x-request-id", &json!("seven")),
            ("cookie", "session", &json!("abc")),
        ]
    );
    assert_eq!(errors[2]["allowed"], json!({"minLength": 4}));
}

#[tokio::test]
async fn a_body_is_validated_against_its_schema() {
    let post = |body: Value| client().post("/prices").json(&body);
    let response = post(json!({"symbol": "ABC", "price": 1.0})).send().await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.json::<Price>().await.volume, 0);

    let response = post(json!({"symbol": "abcdefghij", "price": -1, "volume": "x"}))
        .send()
        .await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let problem: Value = response.json().await;
    let mut pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (
                error["in"].as_str().unwrap(),
                error["pointer"].as_str().unwrap(),
            )
        })
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            ("body", "#/price"),
            ("body", "#/symbol"),
            ("body", "#/symbol"),
            ("body", "#/volume")
        ]
    );
}

#[tokio::test]
async fn a_problem_for_invalid_json_has_line_and_column() {
    let response = client()
        .post("/prices")
        .header("content-type", "application/json; charset=utf-8")
        .body("{\"symbol\": \"A\",\n \"price\": ]}")
        .send()
        .await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem: Value = response.json().await;
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(2), &json!(11))
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("line 2 column 11")
    );

    let response = client().post("/prices").body("{}").send().await;
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let response = client()
        .post("/prices")
        .header("content-type", "application/json")
        .body(" ".repeat(2 * 1024 * 1024 + 1))
        .send()
        .await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn another_refusal_takes_precedence_over_faults() {
    let response = client().get("/me?count=0").send().await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let me = client().get("/me?count=2").header("authorization", "x");
    assert_eq!(me.send().await.text().await, "ann state 2");
}

#[tokio::test]
async fn parameters_have_defaults_and_lists() {
    let prices: Vec<Price> = client().get("/prices/ABC").stream().await.take(3).await;
    assert_eq!(prices[2], Price::of("ABC"));
    let response = client()
        .get("/prices/ABC?kind=bid&kind=ask&count=1")
        .send()
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    let response = client().get("/prices/ABC?kind=bid&kind=buy").send().await;
    let problem: Value = response.json().await;
    assert_eq!(problem["errors"][0]["name"], "kind");
    assert_eq!(problem["errors"][0]["pointer"], "#/1");
}

#[tokio::test]
async fn a_unions_items_have_the_event_names_of_their_variants() {
    let text = client()
        .get("/feed")
        .accept(Format::Sse)
        .send()
        .await
        .text()
        .await;
    assert!(text.starts_with(
        "event: trade\ndata: {\"type\":\"trade\",\"price\":1.0}\n\nevent: market_closed\ndata: {\"type\":\"market_closed\""
    ), "{text}");
}

#[tokio::test]
async fn a_router_can_be_merged_and_returned() {
    let plain = Router::new().route("/plain", axum::routing::get(async || "plain"));
    let inner = App::new("Inner", "1")
        .tag("inner", "Of another app.")
        .route("/", get(feed).tag("inner"));
    let app: App = App::new("Outer", "1").merge(plain).nest("/inner", inner);
    let document = app.openapi(OpenApi::V3_2);
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/inner"]);
    assert_eq!(document["tags"][0]["name"], "inner");
    let client = TestClient::new(
        app.into_router()
            .route("/more", axum::routing::get(async || "more")),
    );
    for path in ["/plain", "/inner", "/more", "/openapi.json"] {
        assert_eq!(
            client.get(path).send().await.status(),
            StatusCode::OK,
            "{path}"
        );
    }
}

#[tokio::test]
async fn outgoing_values_are_checked_if_enabled() {
    async fn wrong() -> Json<Price> {
        Json(Price::of("lower"))
    }
    async fn wrong_items() -> Streaming<Price> {
        Streaming::new(stream::iter([Price::of("GOOD"), Price::of("bad")]))
    }
    let app: App = App::new("", "")
        .route("/value", get(wrong))
        .route("/items", get(wrong_items));
    let unchecked = TestClient::new(app.clone());
    assert_eq!(
        unchecked.get("/value").send().await.status(),
        StatusCode::OK
    );
    let checked = TestClient::new(app.check_outgoing(true));
    let response = checked.get("/value").send().await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let mut items = checked.get("/items").stream::<Price>().await;
    assert_eq!(items.next().await, Some(Price::of("GOOD")));
    assert_eq!(items.cut().await, "the stream failed");
}

#[test]
#[should_panic(
    expected = "get /a/{b}/{c}: the route has 2 parameters, and `alloc::string::String` is a single value"
)]
fn a_path_that_a_type_does_not_fit_is_named_at_the_start() {
    let _ = App::<()>::new("", "")
        .route("/a/{b}/{c}", get(async |Path(_): Path<String>| ()))
        .into_router();
}

#[test]
fn replies_document_their_headers_and_formats() {
    async fn tick() {}
    let route = headwater::head(tick).describe(|operation| {
        operation.raw_reply(StatusCode::CREATED, "image/png", "A picture");
        operation.stream_reply::<u32>(StatusCode::CREATED, &[Format::Sse], "Numbers");
        operation.reply_header(StatusCode::CREATED, "X-Place", "Where it is.");
        operation.reply_header(StatusCode::GONE, "X-Lost", "A reply that isn't there.");
    });
    let app: App = App::new("Replies", "1.0.0").route("/", route);
    let document = app.openapi(OpenApi::V3_2);
    let reply = &document["paths"]["/"]["head"]["responses"]["201"];
    assert_eq!(reply["description"], "A picture");
    assert_eq!(reply["headers"]["X-Place"]["description"], "Where it is.");
    assert!(reply["content"]["image/png"].is_object());
    assert!(reply["content"]["text/event-stream"].is_object());
}

#[tokio::test]
async fn refusals_of_axums_extractors_are_problems_without_internals() {
    #[derive(Clone)]
    struct Secret;
    async fn internal(headwater::Extension(_): headwater::Extension<Secret>) {}
    async fn text(text: String) -> String {
        text
    }
    async fn own(_: Own) {}
    struct Own;
    impl OperationInput for Own {}
    impl<S: Sync> axum::extract::FromRequestParts<S> for Own {
        type Rejection = (StatusCode, [(&'static str, &'static str); 1], &'static str);

        async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
            Err((
                StatusCode::UNAUTHORIZED,
                [("www-authenticate", "Basic")],
                "log in",
            ))
        }
    }
    let app = App::new("Refusals", "1")
        .route("/internal", get(internal))
        .route("/text", post(text))
        .route("/own", get(own));
    let client = TestClient::new(app);
    let sent = [
        (
            client.get("/internal"),
            json!({"title": "Internal Server Error", "status": 500}),
        ),
        (
            client.post("/text").body(&b"\xff"[..]),
            json!({"title": "Bad Request", "status": 400, "detail": "Request body didn't contain valid UTF-8: invalid utf-8 \
                sequence of 1 bytes from index 0"}),
        ),
        (
            client.get("/own"),
            json!({"title": "Unauthorized", "status": 401, "detail": "log in"}),
        ),
    ];
    for (request, expected) in sent {
        let response = request.send().await;
        assert_eq!(json!(response.status().as_u16()), expected["status"]);
        assert_eq!(response.headers()["content-type"], Problem::CONTENT_TYPE);
        if response.status() == StatusCode::UNAUTHORIZED {
            assert_eq!(response.headers()["www-authenticate"], "Basic");
        }
        assert_eq!(response.json::<Value>().await, expected);
    }
}

#[tokio::test]
async fn a_handler_of_head_that_is_merged_is_in_allow_once() {
    let one = || {
        get(async || "get")
            .merge(headwater::head(async || ""))
            .put(async || "put")
    };
    let app = App::new("Numbers", "1")
        .route("/merged", one())
        .route(
            "/chained",
            headwater::head(async || "")
                .put(async || "put")
                .get(async || "get"),
        )
        .route("/plain", get(async || "get").put(async || "put"));
    let client = TestClient::new(app);
    for path in ["/merged", "/chained", "/plain"] {
        let response = client.request(http::Method::POST, path).send().await;
        assert_eq!(response.status(), 405, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
        let mut methods: Vec<_> = allowed.split(',').collect();
        methods.sort_unstable();
        assert_eq!(methods, ["GET", "HEAD", "PUT"], "{path}");
        let problem: Value = response.json().await;
        assert_eq!(problem["allow"].as_array().unwrap().len(), 3, "{problem}");
        for (method, status) in [("GET", 200), ("HEAD", 200), ("PUT", 200)] {
            let request = client.request(method.parse().unwrap(), path);
            assert_eq!(request.send().await.status(), status, "{method} {path}");
        }
    }
}
