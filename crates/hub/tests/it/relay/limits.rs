//! Relays and their readers beyond a limit, and the code of each limit.

use std::{net::SocketAddr, sync::Arc};

use axum::{Extension, extract::ConnectInfo};
use headwater::test::TestClient;
use headwater_auth::{Authenticator, Grant, Grants};
use headwater_hub::{Auth, Hub, Limits, RateLimits};

use super::*;

#[tokio::test]
async fn concurrent_relays_are_limited_before_the_upstream_is_called() {
    let (upstream, _sender) = Upstream::streaming(SSE).await;
    let mut limits = Limits::default();
    limits.ingest_jobs = 1;
    let server = Server::with(options().limits(limits));
    let path = server.relayed("", &upstream.url).await;
    let response = server.relay("", "GET", &upstream.url).send().await;
    assert_eq!(header(&response, "retry-after"), "1");
    refused(response, 429, "TOO_MANY_RELAYS").await;
    assert_eq!(upstream.calls().len(), 1);
    assert_eq!(
        server.patch(&with(&path, "action=abort")).await.status(),
        204
    );
}

/// Returns a hub whose requests are all of one address, with these rates.
fn of_one_address(address: &str) -> Server {
    let mut rates = RateLimits::default();
    rates.address = address.parse().expect("they are rates");
    let mut server = server();
    let hub = Hub::with_options(Arc::clone(&server.log), options().rate_limits(rates));
    let address = SocketAddr::from(([192, 0, 2, 1], 1000));
    let router = hub.app().into_router();
    server.client = TestClient::new(router.layer(Extension(ConnectInfo(address))));
    server
}

#[tokio::test]
async fn relays_beyond_the_rate_of_their_sender_have_another_code_than_too_many_relays() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let server = of_one_address("created=1/h");
    server.relayed("", &upstream.url).await;
    let response = server.relay("", "GET", &upstream.url).send().await;
    assert!(!header(&response, "retry-after").is_empty());
    let body = refused(response, 429, "RATE_LIMITED").await;
    assert_eq!(body["violated-policies"][0], "created");
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn a_reader_beyond_the_rate_of_its_sender_has_another_code_than_too_many_readers() {
    let mut limits = Limits::default();
    limits.subscribers = 0;
    for (server, code) in [
        (of_one_address("open=0"), "RATE_LIMITED"),
        (Server::with(options().limits(limits)), "TOO_MANY_READERS"),
    ] {
        let (upstream, _sender) = Upstream::streaming(SSE).await;
        let path = server.relayed("", &upstream.url).await;
        let live = with(&path, "live=sse&offset=-1");
        let response = server.client.get(&live).send().await;
        refused(response, 429, code).await;
    }
}

#[tokio::test]
async fn a_relay_into_a_stream_that_anonymous_requests_may_not_create_needs_a_token() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let grants = ["relay:ours/**".parse::<Grant>()];
    let grants = grants.into_iter().collect::<Result<Vec<_>, _>>();
    let grants = grants.and_then(Grants::new);
    let auth = Auth::new(Authenticator::new());
    let auth = auth.anonymous(grants.expect("it is a grant"));
    let server = Server::with(options().auth(auth));
    let response = server
        .relay("?stream=theirs", "GET", &upstream.url)
        .send()
        .await;
    refused(response, 401, "TOKEN_MISSING").await;
}
