use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use futures_util::stream;
use headwater_auth::Grants;
use http::Request;
use http_body_util::BodyExt as _;
use tokio::time::{Duration, Instant};

use super::*;

fn limiter(address: &str, key: &str, subject: &str) -> RateLimiter {
    RateLimiter::new(&RateLimits {
        address: address.parse().unwrap(),
        key: key.parse().unwrap(),
        subject: subject.parse().unwrap(),
    })
}

fn parts(address: Option<&str>, content_type: &str) -> Parts {
    let request = Request::post("/").header(header::CONTENT_TYPE, content_type);
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    if let Some(address) = address {
        let address: SocketAddr = address.parse().unwrap();
        parts.extensions.insert(ConnectInfo(address));
    }
    parts
}

fn key(id: &str) -> Identity {
    let kind = IdentityKind::Key { id: id.into() };
    Identity::new("name", Grants::none(), None, kind)
}

/// Returns the number of requests that are admitted at once.
fn admitted(limiter: &RateLimiter, identity: Option<&Identity>, address: Option<&str>) -> usize {
    let admit = || {
        let mut parts = parts(address, "application/json");
        limiter.admit(identity, &mut parts, Body::empty())
    };
    (0..100).take_while(|_| admit().is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn a_request_counts_for_its_key_or_its_address() {
    let limiter = limiter("requests=3", "requests=5", "");
    let anonymous = Identity::anonymous(Grants::none());
    assert_eq!(admitted(&limiter, Some(&key("a")), Some("192.0.2.1:1")), 5);
    assert_eq!(admitted(&limiter, Some(&key("b")), Some("192.0.2.1:1")), 5);
    // Another port, and no credentials or invalid ones.
    assert_eq!(admitted(&limiter, Some(&anonymous), Some("192.0.2.1:1")), 3);
    assert_eq!(admitted(&limiter, None, Some("192.0.2.1:2")), 0);
    assert_eq!(admitted(&limiter, None, Some("192.0.2.2:1")), 3);
    assert_eq!(admitted(&limiter, None, Some("[2001:db8::1]:1")), 3);
    assert_eq!(admitted(&limiter, None, Some("[2001:db8::2:1]:1")), 0);
    assert_eq!(admitted(&limiter, None, None), 100);
    // A key has rates of its own.
    let own = key("c").with_rates("requests=7".parse().unwrap());
    assert_eq!(admitted(&limiter, Some(&own), None), 7);
}

#[tokio::test(start_paused = true)]
async fn a_short_body_is_counted_before_it_is_read() {
    let limiter = limiter("bytes=16KiB", "", "");
    let send = |bytes: usize| {
        let mut parts = parts(Some("192.0.2.1:1"), "application/json");
        let admitted = limiter.admit(None, &mut parts, Body::from(vec![b'x'; bytes]));
        admitted.map_err(|refusal| refusal.into_problem().status().as_u16())
    };
    assert!(send(10_000).is_ok());
    // It is more than what is left, and so are the next ones.
    assert!(send(60_000).is_ok());
    assert_eq!(send(1).err(), Some(429));
    assert!(send(0).is_ok());
    assert_eq!(send(100_000).err(), Some(429));
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(send(1).is_ok());
}

/// A body of unknown length.
fn pieces(count: usize, bytes: usize) -> Body {
    let piece = move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]));
    Body::from_stream(stream::iter((0..count).map(piece)))
}

#[tokio::test(start_paused = true)]
async fn a_long_body_is_read_no_faster_than_its_sender_may_send() {
    let limiter = limiter("bytes=64KiB", "", "");
    let mut parts = parts(Some("192.0.2.1:1"), "application/json");
    let Ok((_, body)) = limiter.admit(None, &mut parts, pieces(100, 64 << 10)) else {
        panic!("it was refused")
    };
    let start = Instant::now();
    let all = body.collect().await.unwrap().to_bytes();
    assert_eq!(all.len(), 100 * (64 << 10));
    let time = start.elapsed().as_secs_f64();
    // The burst is free, and the last piece is owed.
    assert!((98.0..=100.1).contains(&time), "{time}");
}

#[tokio::test(start_paused = true)]
async fn lines_pause_while_no_message_is_left_and_other_bodies_do_not() {
    let limiter = limiter("messages=10", "", "");
    for (content_type, seconds) in [
        ("application/x-ndjson; charset=utf-8", 9.1),
        ("text/plain", 0.0),
    ] {
        let mut parts = parts(Some("192.0.2.1:1"), content_type);
        let admitted = limiter.admit(None, &mut parts, pieces(2, 10));
        let Ok((meter, mut body)) = admitted else {
            panic!("it was refused")
        };
        assert!(body.frame().await.unwrap().is_ok());
        meter.owe_messages(100);
        let start = Instant::now();
        assert!(body.frame().await.unwrap().is_ok());
        let time = start.elapsed().as_secs_f64();
        assert!((time - seconds).abs() < 0.01, "{content_type}: {time}");
    }
    let mut parts = parts(Some("192.0.2.1:1"), "application/x-ndjson");
    let refused = limiter.admit(None, &mut parts, Body::from("1"));
    assert!(refused.is_err(), "none is left");
}
