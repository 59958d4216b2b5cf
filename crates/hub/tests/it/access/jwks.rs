//! The keys of tokens by URL: rotation, caching, and an issuer that doesn't answer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use headwater::test::TestClient;
use headwater_auth::{Jwks, KeyStore};
use headwater_hub::{Hub, JwksUrlError};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::json;

use super::*;

/// A speed of the clock that decides about fetches, at which its 10 s are 200 ms.
const FAST: u32 = 50;

/// A key of an issuer.
#[derive(Clone)]
pub(super) struct IssuerKey {
    kid: String,
    pem: String,
    pub(super) jwk: Value,
}

impl IssuerKey {
    pub(super) fn new(kid: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("it is random");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("it was made just now");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let der = STANDARD.encode(pkcs8.as_ref());
        Self {
            kid: kid.to_owned(),
            pem: format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}),
        }
    }

    pub(super) fn token(&self) -> String {
        let key = SigningKey::from_pem(self.pem.as_bytes()).expect("it is a key");
        let claims = claims("read,create,publish:**", HOUR);
        key.kid(&self.kid).mint(&claims).expect("it can sign")
    }
}

/// The way in which an issuer answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Good,
    Fails,
    Silent,
    Huge,
    Malformed,
    Elsewhere,
    Around,
}

struct Issuer {
    address: SocketAddr,
    now: Arc<Mutex<Now>>,
    server: tokio::task::JoinHandle<()>,
}

struct Now {
    mode: Mode,
    keys: BTreeMap<String, IssuerKey>,
    max_age: Option<u64>,
    fetches: usize,
    not_modified: usize,
}

impl Issuer {
    async fn start(mode: Mode, keys: &[&IssuerKey]) -> Self {
        let keys = keys.iter().map(|key| (key.kid.clone(), (*key).clone()));
        let now = Arc::new(Mutex::new(Now {
            mode,
            keys: keys.collect(),
            max_age: None,
            fetches: 0,
            not_modified: 0,
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a port");
        let address = listener.local_addr().expect("it is bound");
        let app = Router::new()
            .route("/jwks", axum::routing::get(answer))
            .route("/moved", axum::routing::get(async || see("/jwks")))
            .with_state(Arc::clone(&now));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self {
            address,
            now,
            server,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn publish(&self, keys: &[&IssuerKey]) {
        let keys = keys.iter().map(|key| (key.kid.clone(), (*key).clone()));
        self.now.lock().keys = keys.collect();
    }

    fn set(&self, mode: Mode) {
        self.now.lock().mode = mode;
    }

    fn fetches(&self) -> usize {
        self.now.lock().fetches
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn see(location: &str) -> Response {
    (StatusCode::FOUND, [("location", location)]).into_response()
}

async fn answer(State(now): State<Arc<Mutex<Now>>>, headers: HeaderMap) -> Response {
    let mode = {
        let mut now = now.lock();
        now.fetches += 1;
        now.mode
    };
    match mode {
        Mode::Good => {}
        Mode::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mode::Silent => std::future::pending().await,
        Mode::Huge => return " ".repeat(300 << 10).into_response(),
        Mode::Malformed => return "<html>".into_response(),
        Mode::Elsewhere => return see("http://127.0.0.1:1/jwks"),
        Mode::Around => return see("/jwks"),
    }
    let mut now = now.lock();
    let keys: Vec<_> = now.keys.values().map(|key| &key.jwk).collect();
    let body = json!({"keys": keys}).to_string();
    let names: Vec<_> = now.keys.keys().map(String::as_str).collect();
    let etag = format!("\"{}\"", names.join("-"));
    let control = match now.max_age {
        Some(seconds) => format!("max-age={seconds}"),
        None => "public".to_owned(),
    };
    let head = [("etag", etag.clone()), ("cache-control", control)];
    if headers
        .get("if-none-match")
        .is_some_and(|known| *known == *etag)
    {
        now.not_modified += 1;
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    // Content types differ from issuer to issuer.
    (head, [("content-type", "text/plain")], body).into_response()
}

pub(super) fn auth() -> Auth {
    let jwt = JwtOptions::jwks(Jwks::default()).audience(AUDIENCE);
    Auth::new(Authenticator::new().jwt(JwtVerifier::new(jwt)))
}

fn hub_at(url: &str, speed: u32) -> Server {
    let auth = auth().jwks_url(url).expect("it is a URL").jwks_clock(speed);
    Server::with(Options::new().auth(auth.anonymous(grants("read:public"))))
}

pub(super) async fn read(hub: &Server, token: &str) -> TestResponse {
    bearer(hub.get("a"), token).send().await
}

/// Returns `true` if the token is accepted: the stream doesn't exist.
pub(super) async fn is_accepted(hub: &Server, token: &str) -> bool {
    read(hub, token).await.status() == 404
}

/// Waits until something is so.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_refuses_no_valid_token_and_ends_those_of_the_removed_key() {
    let (old, new) = (IssuerKey::new("old"), IssuerKey::new("new"));
    let issuer = Issuer::start(Mode::Good, &[&old]).await;
    let hub = Arc::new(hub_at(&issuer.url("/jwks"), 1));
    let create = bearer(hub.request(Method::PUT, "a"), &old.token());
    assert_eq!(create.header(JSON.0, JSON.1).send().await.status(), 201);
    let open = bearer(hub.events("a"), &old.token()).send().await;
    assert_eq!(open.status(), 200);

    let token = Arc::new(Mutex::new(old.token()));
    let is_over = Arc::new(AtomicBool::new(false));
    let load = (0..8).map(|_| {
        let (hub, token, is_over) = (Arc::clone(&hub), Arc::clone(&token), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut requests = 0;
            while !is_over.load(Ordering::Acquire) {
                let sent = token.lock().clone();
                let response = read(&hub, &sent).await;
                // A response to the token of before, whose key may be gone by now, doesn't count.
                if *token.lock() == sent {
                    assert_eq!(response.status(), 200, "after {requests} requests");
                    requests += 1;
                }
                // A request in the process waits for nothing: without a break, the tasks that fetch the
                // keys would hardly run.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            requests
        })
    });
    let load: Vec<_> = load.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The harshest way: one key takes the place of the other, and signs at once.
    issuer.publish(&[&new]);
    *token.lock() = new.token();
    until("the old key is refused", async || {
        code(read(&hub, &old.token()).await).await == "token_unknown_key"
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    is_over.store(true, Ordering::Release);
    for task in load {
        assert!(task.await.expect("no valid token was refused") > 0);
    }
    assert!(issuer.fetches() <= 3, "{}", issuer.fetches());
    // The response that was open ends as that of a revoked key does.
    let end = tokio::time::timeout(Duration::from_secs(2), open.into_body_text());
    let text = end.await.expect("it ends");
    assert!(text.contains("\"token_revoked\""), "{text}");
}

#[tokio::test]
async fn rotations_in_a_row_are_noticed_within_the_interval() {
    let keys = ["a", "b", "c", "d"].map(IssuerKey::new);
    let issuer = Issuer::start(Mode::Good, &[&keys[0]]).await;
    let hub = hub_at(&issuer.url("/jwks"), FAST);
    let first = keys[0].token();
    until("the keys are known", async || {
        is_accepted(&hub, &first).await
    })
    .await;
    for [before, after] in [[0, 1], [1, 2], [2, 3]] {
        issuer.publish(&[&keys[after]]);
        let (before, after) = (keys[before].token(), keys[after].token());
        until("the new key is known", async || {
            is_accepted(&hub, &after).await
        })
        .await;
        assert!(!is_accepted(&hub, &before).await);
    }
}

#[tokio::test]
async fn a_key_is_withdrawn_also_if_no_other_key_of_the_set_is_usable() {
    let (key, mut other) = (IssuerKey::new("a"), IssuerKey::new("b"));
    other.jwk["crv"] = json!("Ed448");
    let issuer = Issuer::start(Mode::Good, &[&key, &other]).await;
    let hub = hub_at(&issuer.url("/jwks"), FAST);
    assert!(is_accepted(&hub, &key.token()).await);
    issuer.publish(&[&other]);
    until("a token of an unknown key causes a fetch", async || {
        assert_eq!(
            code(read(&hub, &other.token()).await).await,
            "token_unknown_key"
        );
        !is_accepted(&hub, &key.token()).await
    })
    .await;
    let refused = read(&hub, &key.token()).await;
    assert_eq!(code(refused).await, "token_unknown_key");
    assert_eq!(hub.client.get("/readyz").send().await.status(), 200);
    issuer.publish(&[&key]);
    until("it is published again", async || {
        is_accepted(&hub, &key.token()).await
    })
    .await;
}

#[tokio::test]
async fn without_keys_tokens_are_answered_with_503_and_all_else_is_served() {
    let key = IssuerKey::new("a");
    let folder = tempfile::tempdir().expect("there is room");
    let file = KeyFile::new(folder.path().join("keys.json"));
    let long_lived = file.create("k", grants("read:**"), None, SystemTime::now());
    let long_lived = long_lived.expect("the file can be written");
    let store = KeyStore::open(folder.path().join("keys.json")).expect("it is valid");
    let jwt = JwtVerifier::new(JwtOptions::jwks(Jwks::default()).audience(AUDIENCE));
    let authenticator = Authenticator::new().jwt(jwt).keys(Arc::new(store));
    let issuer = Issuer::start(Mode::Fails, &[&key]).await;
    let auth = Auth::new(authenticator).anonymous(grants("read:public"));
    let auth = auth.jwks_url(&issuer.url("/jwks")).expect("it is a URL");
    let hub = Server::with(Options::new().auth(auth.jwks_clock(FAST)));

    let response = read(&hub, &key.token()).await;
    assert_eq!(response.status(), 503);
    assert_eq!(header(&response, "retry-after"), "10");
    let problem = response.json::<Value>().await;
    assert_eq!(problem["code"], "keys_unavailable");
    let ready = hub.client.get("/readyz").send().await;
    assert_eq!(ready.status(), 503);
    assert!(!ready.headers().contains_key("retry-after"));
    assert!(is_accepted(&hub, long_lived.token()).await);
    assert_eq!(hub.get("public").send().await.status(), 404);
    assert_eq!(code(hub.get("a").send().await).await, "token_missing");
    assert_eq!(code(read(&hub, "garbage").await).await, "token_malformed");

    issuer.set(Mode::Good);
    until("the keys are fetched", async || {
        is_accepted(&hub, &key.token()).await
    })
    .await;
    assert_eq!(hub.client.get("/readyz").send().await.status(), 200);

    // Within a day, the last keys stay valid. An unknown key is none that is out of reach.
    issuer.set(Mode::Fails);
    let other = IssuerKey::new("b").token();
    let before = issuer.fetches();
    until("it is tried again", async || {
        assert_eq!(code(read(&hub, &other).await).await, "token_unknown_key");
        issuer.fetches() > before
    })
    .await;
    assert!(is_accepted(&hub, &key.token()).await);
    assert_eq!(hub.client.get("/readyz").send().await.status(), 200);
}

#[tokio::test]
async fn a_ticket_is_not_used_up_while_the_keys_of_its_token_are_out_of_reach() {
    let key = IssuerKey::new("a");
    let near = Issuer::start(Mode::Good, &[&key]).await;
    let far = Issuer::start(Mode::Fails, &[&key]).await;
    let options = |issuer: &Issuer| {
        let auth = auth().jwks_url(&issuer.url("/jwks")).expect("it is a URL");
        Options::new().auth(auth.jwks_clock(FAST)).shared_log()
    };
    let hub = Server::with(options(&near));
    let other = Hub::with_options(Arc::clone(&hub.log), options(&far));
    let other = TestClient::new(other.app());
    let ticket = bearer(hub.client.post("/tickets"), &key.token());
    let ticket = ticket.send().await.json::<Value>().await;
    let ticket = ticket["ticket"].as_str().expect("it is text");
    let get = async || {
        let get = other.get(&format!("/streams/a?ticket={ticket}"));
        let response = get.send().await;
        (response.status().as_u16(), response.json::<Value>().await)
    };
    let (status, problem) = get().await;
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("keys_unavailable"))
    );
    far.set(Mode::Good);
    // The stream doesn't exist.
    until("it is admitted", async || get().await.0 == 404).await;
    let (status, problem) = get().await;
    assert_eq!((status, &problem["code"]), (401, &json!("token_expired")));
}

#[tokio::test]
async fn an_issuer_that_answers_badly_delays_no_request_for_long() {
    let key = IssuerKey::new("a");
    let token = key.token();
    for mode in [
        Mode::Silent,
        Mode::Huge,
        Mode::Malformed,
        Mode::Elsewhere,
        Mode::Around,
    ] {
        let issuer = Issuer::start(mode, &[&key]).await;
        let hub = hub_at(&issuer.url("/jwks"), FAST);
        let start = Instant::now();
        for _ in 0..5 {
            let response = read(&hub, &token).await;
            assert_eq!(response.status(), 503, "{mode:?}");
        }
        // Each waits for at most 2 s of the clock, twice.
        assert!(start.elapsed() < Duration::from_secs(3), "{mode:?}");
        until("it is fetched", async || issuer.fetches() > 0).await;
        issuer.set(Mode::Good);
        until("it recovers", async || is_accepted(&hub, &token).await).await;
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed() {
    let key = IssuerKey::new("a");
    let issuer = Issuer::start(Mode::Good, &[&key]).await;
    let hub = hub_at(&issuer.url("/moved"), 1);
    assert!(is_accepted(&hub, &key.token()).await);
}

#[tokio::test]
async fn a_set_is_fetched_again_when_it_is_stale_and_confirmed_by_its_tag() {
    let key = IssuerKey::new("a");
    let issuer = Issuer::start(Mode::Good, &[&key]).await;
    // 100 s are 2 s.
    issuer.now.lock().max_age = Some(100);
    let hub = hub_at(&issuer.url("/jwks"), FAST);
    let token = key.token();
    until("the keys are known", async || {
        is_accepted(&hub, &token).await
    })
    .await;
    let start = Instant::now();
    until("it is confirmed", async || {
        issuer.now.lock().not_modified == 2
    })
    .await;
    assert!(issuer.fetches() >= 3, "{}", issuer.fetches());
    assert!(
        start.elapsed() > Duration::from_millis(3500),
        "{:?}",
        start.elapsed()
    );
    assert!(is_accepted(&hub, &key.token()).await);
}

#[tokio::test]
async fn a_flood_of_unknown_key_ids_causes_few_fetches() {
    let key = IssuerKey::new("a");
    let issuer = Issuer::start(Mode::Good, &[&key]).await;
    let hub = hub_at(&issuer.url("/jwks"), 1);
    let valid = key.token();
    assert!(is_accepted(&hub, &valid).await);
    let mut made_up = key.clone();
    let tokens = (0..500).map(|number| {
        made_up.kid = format!("made-up-{number}");
        made_up.token()
    });
    let tokens: Vec<_> = tokens.collect();
    let start = Instant::now();
    let flood = tokens.iter().map(|token| async {
        assert_eq!(code(read(&hub, token).await).await, "token_unknown_key");
    });
    let others = async {
        for _ in 0..20 {
            assert!(is_accepted(&hub, &valid).await);
        }
    };
    tokio::join!(futures_util::future::join_all(flood), others);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert!(issuer.fetches() <= 3, "{}", issuer.fetches());
}

#[test]
fn a_url_needs_a_verifier_with_a_set_and_a_safe_scheme() {
    let refused =
        |auth: Auth, url: &str| -> JwksUrlError { auth.jwks_url(url).expect_err("it is refused") };
    let error = refused(Auth::new(authenticator()), "https://id.example.com/");
    assert!(error.to_string().contains("JWK Set"), "{error}");
    let error = refused(auth(), "http://id.example.com/");
    assert!(error.to_string().contains("https"), "{error}");
}
