use headwater_client::Egress;

use super::{
    server::{Act, chunk, chunked, head, send},
    *,
};
use crate::relay::upstream::Kind;

#[tokio::test]
async fn the_call_is_made_once_as_it_is_and_uncompressed() {
    let server = Server::new([vec![head("text/plain"), send("hi")]]).await;
    let upstream = post(&server, limits()).await.unwrap();
    assert_eq!(
        (upstream.content_type(), upstream.kind()),
        (Some("text/plain"), Kind::Text)
    );
    assert_eq!(
        Items::of(upstream).all().await,
        (vec!["hi".to_owned()], None)
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert!(request.starts_with("post /a?b=c http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nx-note: kept\r\n"));
    assert!(request.contains("\r\naccept-encoding: identity\r\n"));
    assert!(request.contains("\r\ncontent-length: 7\r\n"));
    assert!(request.ends_with("\r\n\r\n{\"q\":1}"));
}

#[tokio::test]
async fn an_item_is_returned_as_soon_as_its_last_byte_arrives() {
    for (content_type, body, item) in [
        ("text/event-stream", "data: a\n\n", "data: a\\n\\n"),
        ("text/event-stream", "data: a\r\n\r", "data: a\\r\\n\\r"),
        ("application/x-ndjson", "{}\n[", "{}\\n"),
        ("application/json", "[{},", "{}"),
        ("text/plain", "a\u{20ac}", "a\\xe2\\x82\\xac"),
        ("application/octet-stream", "a", "a"),
    ] {
        let server = Server::new([vec![chunked(content_type), chunk(body), Act::Hang]]).await;
        let mut items = Items::of(post(&server, limits()).await.unwrap());
        assert_eq!(items.next().await, Some(Ok(item.to_owned())));
    }
}

#[tokio::test]
async fn a_response_may_arrive_byte_by_byte() {
    let body = "data: a\r\n\r\nid: 1\r\ndata: \u{20ac}\r\n\r\n";
    let mut script = vec![head("text/event-stream")];
    for byte in body.bytes() {
        script.push(send([byte]));
        script.push(Act::Wait(Duration::from_millis(2)));
    }
    let server = Server::new([script]).await;
    let (items, fault) = Items::of(post(&server, limits()).await.unwrap())
        .all()
        .await;
    assert_eq!(fault, None);
    let expected = body.as_bytes().escape_ascii().to_string();
    assert_eq!(items.concat(), expected);
}

#[tokio::test]
async fn closing_between_cr_and_lf_loses_nothing() {
    let server = Server::new([vec![head("text/event-stream"), send("data: a\r\n\r")]]).await;
    let (items, fault) = Items::of(post(&server, limits()).await.unwrap())
        .all()
        .await;
    assert_eq!((items, fault), (vec!["data: a\\r\\n\\r".to_owned()], None));
}

#[tokio::test]
async fn a_break_within_an_item_is_a_fault_after_the_earlier_items() {
    let short =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: 99\r\n\r\n";
    for script in [
        vec![chunked("application/x-ndjson"), chunk("1\n{\"a\":")],
        vec![
            chunked("application/x-ndjson"),
            chunk("1\n{\"a\":"),
            Act::Wait(Duration::from_millis(50)),
            Act::Reset,
        ],
        vec![chunked("application/x-ndjson"), chunk("1\n")],
        vec![
            chunked("application/x-ndjson"),
            chunk("1\n"),
            send("5\r\n2"),
        ],
        vec![send(short), send("1\n")],
        // Without a length or chunks, only the item itself marks its end.
        vec![head("application/x-ndjson"), send("1\n{\"a\":")],
    ] {
        let server = Server::new([script]).await;
        let (items, fault) = Items::of(get(&server, limits()).await.unwrap()).all().await;
        assert_eq!(
            (items, fault),
            (vec!["1\\n".to_owned()], Some(Fault::Truncated))
        );
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_reset_http2_response_is_a_fault_even_without_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = http::Response::builder().header("content-type", "application/x-ndjson");
        let head = head.body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        body.send_data("1\n".into(), false).unwrap();
        // The data is sent before the reset only if the connection is polled.
        let _ = timeout(Duration::from_millis(100), connection.accept()).await;
        // It is harmless only after a complete response (RFC 9113 §8.1).
        body.send_reset(h2::Reason::NO_ERROR);
        while let Some(Ok(_)) = connection.accept().await {}
    });
    let http = internals::http()
        .unwrap()
        .no_proxy()
        .http2_prior_knowledge();
    let server = Server::new([vec![]]).await;
    let mut call = call(&server, Method::GET);
    call.url = url.parse().unwrap();
    let upstream = open(&http.build().unwrap(), call, limits()).await.unwrap();
    let (items, fault) = Items::of(upstream).all().await;
    assert_eq!(
        (items, fault),
        (vec!["1\\n".to_owned()], Some(Fault::Truncated))
    );
}

#[tokio::test]
async fn a_body_ends_at_its_content_length() {
    let long = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nabcdef";
    let server = Server::new([vec![send(long)]]).await;
    let (items, fault) = Items::of(get(&server, limits()).await.unwrap()).all().await;
    assert_eq!((items, fault), (vec!["abc".to_owned()], None));
}

#[tokio::test]
async fn invalid_utf8_passes_except_as_json() {
    for (content_type, body) in [
        ("text/plain", &b"a\xffb"[..]),
        ("text/event-stream", b"data: a\xffb\n\n"),
    ] {
        let server = Server::new([vec![head(content_type), send(body)]]).await;
        let (items, fault) = Items::of(post(&server, limits()).await.unwrap())
            .all()
            .await;
        assert_eq!(
            (items.concat(), fault),
            (body.escape_ascii().to_string(), None)
        );
    }
    for (content_type, body) in [
        ("application/json", &b"[1,\"\xff\"]"[..]),
        ("application/x-ndjson", b"1\n\"\xff\"\n"),
    ] {
        let server = Server::new([vec![head(content_type), send(body)]]).await;
        let (items, fault) = Items::of(post(&server, limits()).await.unwrap())
            .all()
            .await;
        assert_eq!(items.len(), 1);
        assert!(matches!(fault, Some(Fault::Invalid(_))), "{fault:?}");
    }
}

#[tokio::test]
async fn oversized_items_and_responses_are_faults() {
    let limits = UpstreamLimits {
        item_bytes: 100_000,
        total_bytes: 1_000_000,
        ..limits()
    };
    let flood = |content_type, bytes: &[u8]| vec![head(content_type), Act::Flood(bytes.to_vec())];
    for (content_type, bytes) in [
        ("text/event-stream", &b"data: a\n"[..]),
        ("application/x-ndjson", b"        "),
        ("application/json", b"\"aaaaaaa"),
    ] {
        let server = Server::new([flood(content_type, bytes)]).await;
        let (items, fault) = Items::of(post(&server, limits.clone()).await.unwrap())
            .all()
            .await;
        assert!(items.is_empty());
        let is_expected = matches!(fault, Some(Fault::ItemTooLarge { limit: 100_000, .. }));
        assert!(is_expected, "{content_type}: {fault:?}");
    }
    let server = Server::new([flood("text/plain", b"aaaaaaaa")]).await;
    let (items, fault) = Items::of(post(&server, limits).await.unwrap()).all().await;
    assert_eq!(items.concat().len(), 1_000_000);
    assert_eq!(fault, Some(Fault::BodyTooLarge { limit: 1_000_000 }));
}

#[tokio::test]
async fn an_error_response_is_returned_with_the_start_of_its_body() {
    let server = Server::new([vec![send(
        "HTTP/1.1 500 Oh\r\ncontent-type: text/x\r\ncontent-length: 4\r\n\r\noops",
    )]])
    .await;
    let Err(OpenError::Status {
        status,
        content_type,
        body,
        retry_after,
    }) = post(&server, limits()).await
    else {
        panic!("it refused")
    };
    assert_eq!(
        (status.as_u16(), content_type.as_deref()),
        (500, Some("text/x"))
    );
    assert_eq!((&body[..], retry_after), (&b"oops"[..], None));

    let server = Server::new([vec![
        send("HTTP/1.1 429 Slow\r\nretry-after: 7\r\nconnection: close\r\n\r\n"),
        Act::Flood(vec![b'x'; 1000]),
    ]])
    .await;
    let Err(OpenError::Status {
        status,
        body,
        retry_after,
        ..
    }) = get(&server, limits()).await
    else {
        panic!("it refused")
    };
    assert_eq!((status.as_u16(), body.len()), (429, 64 << 10));
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
    assert_eq!(
        server.requests().len(),
        1,
        "nothing is tried again by itself"
    );
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let answer =
            format!("HTTP/1.1 {status} Go\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n");
        let server = Server::new([vec![send(answer)]]).await;
        let opened = get(&server, limits()).await;
        assert!(matches!(opened, Err(OpenError::Redirect { status: found }) if found == status));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_compressed_response_is_refused() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n";
    let server = Server::new([vec![send(answer)]]).await;
    assert!(
        matches!(get(&server, limits()).await, Err(OpenError::Encoded(name)) if name == "gzip")
    );
    let two = "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-encoding: br\r\ncontent-length: 0\r\n\r\n";
    let server = Server::new([vec![send(two)]]).await;
    assert!(matches!(get(&server, limits()).await, Err(OpenError::Encoded(name)) if name == "br"));
    let refused = "HTTP/1.1 404 No\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc";
    let server = Server::new([vec![send(refused)]]).await;
    let opened = get(&server, limits()).await;
    assert!(
        matches!(opened, Err(OpenError::Status { ref body, .. }) if body.is_empty()),
        "what can't be read isn't passed on"
    );
}

#[tokio::test]
async fn a_response_without_a_body_has_no_items() {
    for answer in [
        "HTTP/1.1 204 No\r\ncontent-type: application/json\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ] {
        let server = Server::new([vec![send(answer)]]).await;
        let upstream = get(&server, limits()).await.unwrap();
        assert_eq!(Items::of(upstream).all().await, (vec![], None));
    }
    let server = Server::new([vec![send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]]).await;
    let upstream = get(&server, limits()).await.unwrap();
    assert_eq!(upstream.content_type(), None);
}

#[tokio::test]
async fn timeouts_apply_before_and_after_the_head() {
    let limits = UpstreamLimits {
        head_timeout: Duration::from_millis(150),
        idle_timeout: Duration::from_millis(150),
        ..limits()
    };
    let server = Server::new([vec![Act::Hang]]).await;
    assert!(matches!(
        post(&server, limits.clone()).await,
        Err(OpenError::Timeout(_))
    ));
    let server = Server::new([vec![head("text/plain"), send("a"), Act::Hang]]).await;
    let (items, fault) = Items::of(post(&server, limits.clone()).await.unwrap())
        .all()
        .await;
    assert_eq!(
        (items.len(), fault),
        (1, Some(Fault::Idle(Duration::from_millis(150))))
    );
}

#[tokio::test]
async fn an_unreachable_upstream_is_an_error_without_the_url() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let server = Server::new([vec![]]).await;
    let mut call = call(&server, Method::GET);
    call.url = format!("http://127.0.0.1:{port}/?secret=1")
        .parse()
        .unwrap();
    let Err(error @ OpenError::Connect(_)) = open(&http(), call, limits()).await else {
        panic!("no such host")
    };
    assert!(!error.to_string().contains("secret"), "{error}");
    let causes = error.to_string().matches(": ").count();
    assert_eq!(causes, 1, "it is one sentence: {error}");
}

#[tokio::test]
async fn a_host_that_resolves_to_a_forbidden_address_is_refused() {
    let server = Server::new([vec![head("text/plain"), send("secret")]]).await;
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let egress = Egress::public().with_lookup(move |_| async move { Ok(vec![local]) });
    let http = egress.guard(internals::http().unwrap()).build().unwrap();
    let mut call = call(&server, Method::GET);
    call.url.set_host(Some("rebound.example")).unwrap();
    let opened = open(&http, call, limits()).await;
    assert!(matches!(opened, Err(OpenError::Refused(why)) if why.is_address()));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_connection_closes_at_done_and_when_the_items_are_dropped() {
    let left = async |server: &Server| {
        for _ in 0..500 {
            if server.closed().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the connection stays open");
    };
    let script = vec![
        chunked("text/event-stream"),
        chunk("data: [DONE]\n\n"),
        Act::Hang,
    ];
    let server = Server::new([script.clone()]).await;
    let mut items = Items::of(post(&server, limits()).await.unwrap());
    assert!(items.next().await.is_some());
    left(&server).await;
    assert_eq!(items.next().await, None);

    let server = Server::new([vec![chunked("text/plain"), chunk("a"), Act::Hang]]).await;
    let mut items = Items::of(post(&server, limits()).await.unwrap());
    assert!(items.next().await.is_some());
    drop(items);
    left(&server).await;
}
