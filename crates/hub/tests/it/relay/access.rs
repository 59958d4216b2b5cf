//! §7 pre-signed URLs, §9 authentication, §4.3 to 4.5 authorization.

use super::*;

const SECRET: (&str, &str) = ("authorization", "Bearer the secret");

fn guarded() -> Server {
    Server::with(options().relay_secret("the secret"))
}

async fn relayed(server: &Server, upstream: &Upstream) -> String {
    let post = server
        .relay("", "GET", &upstream.url)
        .header(SECRET.0, SECRET.1);
    location(&post.send().await)
}

#[tokio::test]
async fn creating_requires_the_secret_before_other_checks() {
    let (server, upstream) = (guarded(), Upstream::saying("text/plain", "ok").await);
    let response = server.client.request(Method::POST, "/relay").send().await;
    assert_eq!(header(&response, "www-authenticate"), "Bearer");
    refused(response, 401, "MISSING_SECRET").await;
    for bad in [
        "Bearer x",
        "Bearer the secret ",
        "Bearer",
        "Basic the secret",
        "the secret",
        "bearerthe secret",
    ] {
        let response = server
            .relay("", "GET", &upstream.url)
            .header("authorization", bad)
            .send()
            .await;
        // Spaces around a header's value are not part of it.
        if bad.ends_with("secret ") {
            assert_eq!(response.status(), 201);
        } else {
            refused(response, 401, "INVALID_SECRET").await;
        }
    }
    assert_eq!(upstream.calls().len(), 1);
    assert!(!upstream.calls()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn the_url_only_allows_reading_and_aborting() {
    let (server, upstream) = (guarded(), Upstream::saying("text/plain", "ok").await);
    let path = relayed(&server, &upstream).await;
    assert_eq!(server.ended(&path).await, None);
    assert_eq!(server.text_of(&path).await, "ok");
    assert_eq!(
        server.patch(&with(&path, "action=abort")).await.status(),
        204
    );
    let head = |path: &str| server.client.request(Method::HEAD, path);
    let delete = |path: &str| server.client.request(Method::DELETE, path);
    assert_eq!(head(&path).send().await.status(), 401);
    refused(delete(&path).send().await, 401, "MISSING_SECRET").await;

    // Conversely, the secret allows everything except aborting.
    let plain = bare(&path);
    let response = head(plain).header(SECRET.0, SECRET.1).send().await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "upstream-content-type"), "text/plain");
    assert_eq!(header(&response, "stream-closed"), "true");
    let get = server
        .client
        .get(plain)
        .header(SECRET.0, SECRET.1)
        .send()
        .await;
    assert_eq!(get.text().await, "ok");
    server.refuses_get(plain, 401, "MISSING_SECRET").await;
    let get = server
        .client
        .get(plain)
        .header("authorization", "Bearer x")
        .send()
        .await;
    refused(get, 401, "INVALID_SECRET").await;
    let abort = with(plain, "action=abort");
    let abort = server
        .client
        .request(Method::PATCH, &abort)
        .header(SECRET.0, SECRET.1)
        .send()
        .await;
    refused(abort, 401, "MISSING_SIGNATURE").await;
    assert_eq!(
        delete(plain)
            .header(SECRET.0, SECRET.1)
            .send()
            .await
            .status(),
        204
    );
    server.refuses_get(&path, 404, "STREAM_NOT_FOUND").await;
}

#[tokio::test]
async fn a_signature_is_valid_for_one_relay_until_it_expires() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let (one, other) = (
        server.relayed("", &upstream.url).await,
        server.relayed("", &upstream.url).await,
    );
    let query = one.split_once('?').unwrap().1;
    let stolen = format!("{}?{query}", bare(&other));
    let expires: u64 = query.split(['=', '&']).nth(1).unwrap().parse().unwrap();
    let longer = one.replace(&expires.to_string(), &(expires + 1).to_string());
    let cut = &one[..one.len() - 1];
    for bad in [stolen.as_str(), longer.as_str(), cut] {
        server.refuses_get(bad, 401, "SIGNATURE_INVALID").await;
        server
            .refuses_patch(&with(bad, "action=abort"), 401, "SIGNATURE_INVALID")
            .await;
    }
    // A hub without a secret requires nothing for reading, but refuses an invalid signature.
    assert_eq!(server.text_of(bare(&one)).await, "ok");
    let half = with(bare(&one), "expires=1");
    server.refuses_get(&half, 401, "MISSING_SIGNATURE").await;
    server
        .refuses_patch(&with(bare(&one), "action=abort"), 401, "MISSING_SIGNATURE")
        .await;

    let hasty = Server::with(options().relay_ttl(Duration::ZERO));
    let path = hasty.relayed("", &upstream.url).await;
    hasty.refuses_get(&path, 401, "SIGNATURE_EXPIRED").await;
    hasty
        .refuses_patch(&with(&path, "action=abort"), 401, "SIGNATURE_EXPIRED")
        .await;
}

#[tokio::test]
async fn the_default_lifetime_of_a_url_is_a_day() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let path = server.relayed("", &upstream.url).await;
    let expires: u64 = path.split(['=', '&']).nth(1).unwrap().parse().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!((86_395..=86_405).contains(&(expires - now)), "{path}");
    let response = server
        .client
        .request(Method::HEAD, bare(&path))
        .send()
        .await;
    assert_eq!(header(&response, "stream-ttl"), "86400");
    let path = server.relayed("?ttl=60", &upstream.url).await;
    let response = server
        .client
        .request(Method::HEAD, bare(&path))
        .send()
        .await;
    assert_eq!(header(&response, "stream-ttl"), "60");
    server.clock.advance(Duration::from_secs(61));
    server.refuses_get(&path, 404, "STREAM_NOT_FOUND").await;
}

#[tokio::test]
async fn an_unknown_action_is_refused() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let path = server.relayed("", &upstream.url).await;
    for action in ["", "action=", "action=pause"] {
        server
            .refuses_patch(&with(&path, action), 400, "INVALID_ACTION")
            .await;
    }
}

#[tokio::test]
async fn urls_are_valid_after_a_restart() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let server = Server::on_disk(options());
    let path = server.relayed("", &upstream.url).await;
    assert_eq!(server.ended(&path).await, None);
    let server = server.restarted(options());
    // The keys are read in the background.
    let start = Instant::now();
    while server.client.get(&path).send().await.status() == 503 {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.text_of(&path).await, "ok");
}

#[tokio::test]
async fn relays_are_not_public_streams() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let path = server.relayed("", &upstream.url).await;
    let id = bare(&path).strip_prefix("/relay/").unwrap();
    assert_eq!(
        server
            .get(&format!("__ds/relay/{id}"))
            .send()
            .await
            .status(),
        404
    );
    let listing: Value = server.client.get("/streams").send().await.json().await;
    assert_eq!(listing["streams"], Value::Array(Vec::new()));
}
