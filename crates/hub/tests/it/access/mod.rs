//! Authorization: who may do what, through which credentials, and for how long.

mod credentials;
mod document;
mod expiry;
mod hook;
#[cfg(feature = "jwks")]
mod jwks;
#[cfg(all(feature = "jwks", feature = "tls"))]
mod jwks_ca;
mod moving;
mod shared_tickets;
mod shown;
mod subscriptions;
mod tries;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;
use headwater::test::{TestRequest, TestResponse};
use headwater_auth::{
    Action, Authenticator, Claims, Grant, Grants, JwtOptions, JwtVerifier, KeyFile, KeyStore,
    SigningKey,
};
use headwater_client::Egress;
use headwater_hub::{Auth, Options};
use http::Method;
use serde_json::Value;

use crate::{Server, header};

const SECRET: [u8; 32] = [7; 32];
const AUDIENCE: &str = "hub";
const HOUR: Duration = Duration::from_secs(3600);
const JSON: (&str, &str) = ("content-type", "application/json");

/// A hub that requires credentials, and its key file.
struct Guarded {
    server: Server,
    file: KeyFile,
    _folder: tempfile::TempDir,
}

impl Guarded {
    /// Creates a hub without keys, in which requests without credentials may do nothing.
    fn new() -> Self {
        Self::with("", |_| {})
    }

    /// Creates a hub with keys and with grants of requests without credentials.
    fn with(anonymous: &str, keys: impl FnOnce(&KeyFile)) -> Self {
        Self::with_all(anonymous, keys, |options| options)
    }

    /// Creates a hub as [`new`](Self::new) does, with more options.
    fn with_options(more: impl FnOnce(Options) -> Options) -> Self {
        Self::with_all("", |_| {}, more)
    }

    fn with_all(
        anonymous: &str,
        keys: impl FnOnce(&KeyFile),
        more: impl FnOnce(Options) -> Options,
    ) -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("keys.json");
        let file = KeyFile::new(&path);
        keys(&file);
        let store = KeyStore::open(&path).expect("the file is valid");
        let authenticator = authenticator().keys(Arc::new(store));
        let auth = Auth::new(authenticator).anonymous(grants(anonymous));
        let egress = Egress::allow(["http://127.0.0.1:*"]).expect("it is a pattern");
        let options = Options::new().auth(auth).upstreams(egress).index();
        Self {
            server: Server::with(more(options.long_poll(Duration::from_secs(20)))),
            file,
            _folder: folder,
        }
    }

    fn request(&self, method: Method, path: &str) -> TestRequest {
        self.server.client.request(method, path)
    }

    /// Returns a request with a token of these grants.
    fn as_one(&self, method: Method, path: &str, granted: &str) -> TestRequest {
        bearer(self.request(method, path), &token(granted, HOUR))
    }

    /// Creates JSON streams, each with its own path as its first message.
    async fn create(&self, paths: &[&str]) {
        for path in paths {
            let put = self.as_one(Method::PUT, &format!("/streams/{path}"), "create:**");
            let put = put.header(JSON.0, JSON.1).body(format!("[{path:?}]"));
            assert_eq!(put.send().await.status(), 201, "{path}");
        }
    }

    async fn publish(&self, path: &str, body: &str) {
        let post = self.as_one(Method::POST, &format!("/streams/{path}"), "publish:**");
        let post = post.header(JSON.0, JSON.1).body(body.to_owned());
        assert_eq!(post.send().await.status(), 204, "{path}");
    }
}

/// Returns what accepts the tests' tokens.
fn authenticator() -> Authenticator {
    let jwt = JwtOptions::secret(&SECRET).expect("it is long enough");
    let jwt = jwt.audience(AUDIENCE).leeway(Duration::ZERO);
    Authenticator::new().jwt(JwtVerifier::new(jwt))
}

/// Returns grants from their texts, separated by `;`.
fn grants(text: &str) -> Grants {
    let texts = text.split(';').filter(|text| !text.is_empty());
    let grants = texts.map(|text| text.parse::<Grant>().expect("it is a grant"));
    Grants::new(grants.collect()).expect("there are few")
}

/// Returns a token with these grants.
fn token(granted: &str, valid_for: Duration) -> String {
    mint(&SECRET, &claims(granted, valid_for))
}

fn claims(granted: &str, valid_for: Duration) -> Claims {
    let claims = Claims::new(SystemTime::now() + valid_for).subject("tester");
    claims.audience(AUDIENCE).grants(grants(granted))
}

fn mint(secret: &[u8], claims: &Claims) -> String {
    let key = SigningKey::from_secret(secret).expect("it is long enough");
    key.mint(claims).expect("the claims are valid")
}

fn bearer(request: TestRequest, token: &str) -> TestRequest {
    request.header("authorization", &format!("Bearer {token}"))
}

/// Returns grants of all actions but one, on all streams.
fn all_but(action: Action) -> String {
    let others = Action::ALL.into_iter().filter(|other| *other != action);
    let others: Vec<_> = others.map(Action::name).collect();
    format!("{}:**", others.join(","))
}

/// Returns the text of a body up to its end or its abort.
trait BodyText {
    async fn into_body_text(self) -> String;
}

impl BodyText for TestResponse {
    async fn into_body_text(self) -> String {
        let mut body = self.into_data_stream();
        let mut text = String::new();
        while let Some(Ok(chunk)) = body.next().await {
            text += std::str::from_utf8(&chunk).expect("it is text");
        }
        text
    }
}

/// Returns the code of a refusal, or its status if it isn't one of the authorization.
async fn code(response: TestResponse) -> String {
    match response.status().as_u16() {
        401 | 403 => {
            let problem = response.json::<Value>().await;
            problem["code"].as_str().unwrap_or("no code").to_owned()
        }
        status => status.to_string(),
    }
}

#[tokio::test]
async fn a_hub_without_authorization_has_no_security_and_no_tickets() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    assert_eq!(server.get("a").send().await.status(), 200);
    let with_garbage = bearer(server.get("a"), "garbage").send().await;
    assert_eq!(with_garbage.status(), 200);
    let tickets = server.client.post("/tickets").send().await;
    assert_eq!(tickets.status(), 404);
    let document = server.client.get("/openapi.json").send().await;
    let document = document.json::<Value>().await;
    assert!(document["paths"]["/streams/{path}"]["get"]["security"].is_null());
    assert!(document["paths"]["/tickets"].is_null());
    assert!(document["components"]["securitySchemes"]["bearer"].is_null());
}
