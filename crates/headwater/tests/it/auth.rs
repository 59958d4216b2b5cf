//! Handlers that need a verified token.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use headwater::{
    App, Auth, OpenApi, Problem, SecurityScheme, Streaming, get,
    test::{TestClient, TestResponse},
};
use headwater_auth::{Authenticator, Claims, JwtOptions, JwtVerifier, SigningKey};
use serde::Deserialize;
use serde_json::{Value, json};

const SECRET: [u8; 32] = [7; 32];
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
struct User {
    sub: String,
}

/// Needs a claim that the tests' tokens don't have.
#[derive(Deserialize)]
struct Staff {
    #[allow(dead_code, reason = "it can't be read")]
    role: String,
}

async fn name(Auth { claims, identity }: Auth<User>) -> String {
    assert_eq!(identity.subject(), claims.sub);
    claims.sub
}

async fn greeting(user: Option<Auth<User>>) -> String {
    user.map_or("anonymous".to_owned(), |user| user.claims.sub)
}

async fn staff(_: Auth<Staff>) -> String {
    "staff".to_owned()
}

async fn ticks(_: Auth<User>) -> Streaming<u64> {
    Streaming::new(stream::iter([1]).chain(stream::pending()))
}

fn app() -> App {
    let jwt = JwtOptions::secret(&SECRET).unwrap().leeway(Duration::ZERO);
    App::new("Users", "1.0.0")
        .route("/name", get(name))
        .route("/greeting", get(greeting))
        .route("/staff", get(staff))
        .route("/ticks", get(ticks))
        .with_state(Arc::new(Authenticator::new().jwt(JwtVerifier::new(jwt))))
}

fn token(secret: &[u8], valid_for: Duration) -> String {
    let claims = Claims::new(SystemTime::now() + valid_for).subject("alice");
    let key = SigningKey::from_secret(secret).unwrap();
    key.mint(&claims).unwrap()
}

async fn send(path: &str, authorization: Option<&str>) -> TestResponse {
    let request = TestClient::new(app()).get(path);
    match authorization {
        Some(value) => request.header("authorization", value).send().await,
        None => request.send().await,
    }
}

fn challenge(response: &TestResponse) -> &str {
    response.headers()["www-authenticate"].to_str().unwrap()
}

#[tokio::test]
async fn a_handler_gets_the_claims_of_a_valid_token() {
    for scheme in ["Bearer", "bearer"] {
        let value = format!("{scheme} {}", token(&SECRET, HOUR));
        for path in ["/name", "/greeting"] {
            let response = send(path, Some(&value)).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.text().await, "alice");
        }
    }
    assert_eq!(send("/greeting", None).await.text().await, "anonymous");
}

#[tokio::test]
async fn a_missing_or_invalid_token_is_refused_with_a_challenge() {
    let response = send("/name", None).await;
    assert_eq!(response.status(), 401);
    assert_eq!(challenge(&response), "Bearer");
    assert_eq!(response.json::<Value>().await["code"], "token_missing");
    let wrong = format!("Bearer {}", token(&[8; 32], HOUR));
    for (value, code) in [
        (&*wrong, "token_bad_signature"),
        ("Bearer ", "token_missing"),
        ("Bearer x", "token_malformed"),
        ("Bearer hwk_1_2", "token_malformed"),
        ("Basic YTpi", "token_malformed"),
    ] {
        // An optional token isn't valid either.
        for path in ["/name", "/greeting"] {
            let response = send(path, Some(value)).await;
            assert_eq!(response.status(), 401, "{value}");
            // RFC 6750 §3.1: another scheme, or no credentials, has no error code.
            let has_code = code != "token_missing" && !value.starts_with("Basic");
            let expected = if has_code {
                "Bearer error=\"invalid_token\", "
            } else {
                "Bearer"
            };
            let challenge = challenge(&response);
            assert!(challenge.starts_with(expected), "{value}: {challenge}");
            assert_eq!(challenge.contains("error"), has_code, "{value}");
            assert_eq!(response.json::<Value>().await["code"], code, "{value}");
        }
    }
}

#[tokio::test]
async fn claims_that_a_valid_token_lacks_are_a_403() {
    let value = format!("Bearer {}", token(&SECRET, HOUR));
    let response = send("/staff", Some(&value)).await;
    assert_eq!(response.status(), 403);
    assert!(challenge(&response).contains("insufficient_scope"));
    let problem = response.json::<Value>().await;
    assert_eq!(problem["code"], "claims_missing");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("missing field `role`"), "{detail}");
}

#[tokio::test]
async fn a_stream_ends_within_a_second_of_its_tokens_expiry() {
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let fraction = Duration::from_nanos(u64::from(since.subsec_nanos()));
    let left = Duration::from_secs(2) - fraction;
    let (token, expires) = (token(&SECRET, left), Instant::now() + left);
    let read = |accept: &'static str, is_sse: bool| {
        let get = TestClient::new(app())
            .get("/ticks")
            .header("accept", accept);
        let get = get.header("authorization", &format!("Bearer {token}"));
        async move {
            let mut body = get.send().await.into_data_stream();
            let (mut text, mut is_cut) = (String::new(), false);
            while let Some(chunk) = body.next().await {
                match chunk {
                    Ok(chunk) => text += std::str::from_utf8(&chunk).unwrap(),
                    Err(_) => is_cut = true,
                }
            }
            assert!(is_cut && text.contains('1'), "{text}");
            assert_eq!(text.contains("token_expired"), is_sse, "{text}");
            let now = Instant::now();
            assert!(now + Duration::from_millis(50) > expires, "early");
            let late = now.saturating_duration_since(expires);
            assert!(late < Duration::from_secs(1), "{accept}: {late:?}");
        }
    };
    tokio::join!(
        read("text/event-stream", true),
        read("application/x-ndjson", false),
    );
}

#[tokio::test]
async fn a_problem_of_a_rejection_has_its_status() {
    async fn caught(user: Result<Auth<User>, headwater::AuthRejection>) -> Result<String, Problem> {
        Ok(user?.claims.sub)
    }
    let router = axum::Router::new()
        .route("/", axum::routing::get(caught))
        .with_state(Arc::new(Authenticator::new()));
    let response = TestClient::new(router).get("/").send().await;
    assert_eq!(response.status(), 401);
}

#[test]
fn the_document_has_the_scheme_and_the_refusals() {
    let document = app().openapi(OpenApi::V3_2);
    assert_eq!(
        document["components"]["securitySchemes"],
        json!({"token": {
            "type": "http", "scheme": "bearer", "description": "A JSON Web Token (RFC 7519)."
        }})
    );
    let name = &document["paths"]["/name"]["get"];
    assert_eq!(name["security"], json!([{"token": []}]));
    let greeting = &document["paths"]["/greeting"]["get"];
    assert_eq!(greeting["security"], json!([{"token": []}, {}]));
    for operation in [name, greeting] {
        for status in ["401", "403"] {
            let reply = &operation["responses"][status];
            assert!(
                reply["headers"]["WWW-Authenticate"].is_object(),
                "{status}: {reply}"
            );
            assert!(reply["content"]["application/problem+json"].is_object());
        }
    }
}

#[test]
fn a_scheme_of_the_app_takes_precedence() {
    let mine = || SecurityScheme::bearer().description("Mine.");
    for app in [
        app().security_scheme("token", mine()),
        App::new("Other", "1")
            .security_scheme("token", mine())
            .merge(app()),
    ] {
        let document = app.openapi(OpenApi::V3_2);
        let scheme = &document["components"]["securitySchemes"]["token"];
        assert_eq!(scheme["description"], "Mine.");
    }
}
