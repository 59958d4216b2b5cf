//! §4.2 reading, §4.4 metadata, in all forms of a stream.

use super::*;

#[tokio::test]
async fn a_relay_is_read_as_any_stream_with_the_upstreams_content_type() {
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let server = server();
    let path = server.relayed("?feed=false", &upstream.url).await;
    sender
        .send(Ok("event: a\nid: 7\ndata: 1\n\ndata: 2\n\n"))
        .unwrap();
    let all = "event: a\nid: 7\ndata: 1\n\ndata: 2\n\n";
    server.comes_to(&path, all).await;
    let response = server.client.get(&path).send().await;
    assert_eq!(header(&response, "upstream-content-type"), SSE);
    // The protocol's clients would mistake it for events of the hub.
    assert_eq!(
        header(&response, "content-type"),
        "text/plain; charset=utf-8"
    );
    assert!(header(&response, "cache-control").starts_with("private"));
    let next = header(&response, "stream-next-offset");
    let poll = server
        .client
        .get(&with(&path, &format!("offset={next}&live=long-poll")))
        .send()
        .await;
    assert_eq!(poll.status(), 204);
    assert_eq!(header(&poll, "upstream-content-type"), SSE);
    // An EventSource receives the upstream's events with their names, and with offsets as ids.
    let events = server.client.get(&path).header("accept", SSE).send().await;
    assert_eq!(header(&events, "upstream-content-type"), SSE);
    let mut events = events.stream::<Value>().await;
    let first = events.next_event().await.unwrap();
    assert_eq!((&*first.event, &*first.data), ("a", "1"));
    let second = events.next_event().await.unwrap();
    assert_eq!((&*second.event, &*second.data), ("message", "2"));
    let again = server
        .client
        .get(&path)
        .header("accept", SSE)
        .last_event_id(&first.id)
        .send()
        .await;
    let mut again = again.stream::<Value>().await;
    assert_eq!(again.next_event().await.unwrap().data, "2");
    drop(sender);
    assert_eq!(server.ended(&path).await, None);
    let lines = server
        .client
        .get(&path)
        .header("accept", "application/x-ndjson")
        .send()
        .await;
    let lines = lines.text().await;
    assert_eq!(
        lines,
        "{\"event\":\"a\",\"id\":\"7\",\"data\":1}\n{\"data\":2}\n"
    );
}

#[tokio::test]
async fn each_kind_of_response_is_stored_completely() {
    let server = server();
    for (content_type, body, kept) in [
        ("application/json", "[1, {\"a\":\n2}]", "[1,{\"a\": 2}]"),
        ("application/json", "{\"a\": 1}\n", "[{\"a\": 1}]"),
        (
            "application/x-ndjson",
            "{\"a\":1}\n{\"a\":2}\n",
            "{\"a\":1}\n{\"a\":2}\n",
        ),
        ("text/plain", "žluťoučký kůň\r\n", "žluťoučký kůň\r\n"),
        ("application/vnd.x", "\u{0}\u{1}", "\u{0}\u{1}"),
        (
            "text/event-stream",
            "data: a\r\rdata: [DONE]\r\n\r\n",
            "data: a\r\rdata: [DONE]\r\n\r\n",
        ),
        ("text/plain", "", ""),
    ] {
        let upstream = Upstream::new(move |_| reply(200, content_type, body)).await;
        let path = server.relayed("", &upstream.url).await;
        assert_eq!(server.ended(&path).await, None, "{content_type}");
        let response = server.client.get(&path).send().await;
        assert_eq!(header(&response, "upstream-content-type"), content_type);
        assert_eq!(response.text().await, kept, "{content_type}");
    }
}

#[tokio::test]
async fn nothing_after_the_end_of_an_llms_response_is_stored() {
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let server = server();
    let path = server.relayed("", &upstream.url).await;
    sender
        .send(Ok("data: {\"token\":\"a\"}\n\ndata: [DONE]\n\n"))
        .unwrap();
    assert_eq!(server.ended(&path).await, None);
    dropped(&sender).await;
}

#[tokio::test]
async fn invalid_reads_and_unknown_relays_are_refused() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let path = server.relayed("", &upstream.url).await;
    server
        .refuses_get(&with(&path, "offset=x"), 400, "BAD_REQUEST")
        .await;
    for missing in [
        "/relay/x",
        "/relay/AAAAAAAAAAAAAAAAAAAAAA",
        "/relay/AAAAAAAAAAAAAAAAAAAAAA.YQ",
    ] {
        server.refuses_get(missing, 404, "STREAM_NOT_FOUND").await;
        let head = server.client.request(Method::HEAD, missing).send().await;
        assert_eq!(head.status(), 404);
        // Deleting a relay that doesn't exist is not an error.
        let delete = server.client.request(Method::DELETE, missing).send().await;
        assert_eq!(delete.status(), 204);
    }
}

#[tokio::test]
async fn a_public_stream_is_read_by_its_path_and_by_its_relay() {
    let (upstream, sender) = Upstream::streaming("application/x-ndjson").await;
    let server = server();
    let response = server
        .relay("?stream=answers/4%202", "GET", &upstream.url)
        .send()
        .await;
    assert_eq!(response.status(), 201);
    assert_eq!(
        header(&response, "content-location"),
        "http://hub.example/streams/answers/4%202"
    );
    let path = location(&response);
    sender.send(Ok("1\n2\n")).unwrap();
    server.comes_to("/streams/answers/4%202", "1\n2\n").await;
    assert_eq!(server.text_of(&path).await, "1\n2\n");
    let listing: Value = server
        .client
        .get("/streams?prefix=answers")
        .send()
        .await
        .json()
        .await;
    assert_eq!(listing["streams"][0]["path"], "answers/4 2");
    // Deleting the stream stops its call.
    server.delete("answers/4%202").await;
    assert!(dropped(&sender).await < Duration::from_millis(100));
    server.refuses_get(&path, 404, "STREAM_NOT_FOUND").await;
    // A new stream in its place is not the relay's.
    server.put("answers/4%202", "text/plain", "x").await;
    server.refuses_get(&path, 404, "STREAM_NOT_FOUND").await;
    let taken = server
        .relay("?stream=answers/4%202", "GET", &upstream.url)
        .send()
        .await;
    refused(taken, 409, "STREAM_EXISTS").await;
}

#[tokio::test]
async fn the_upstreams_content_type_is_told_if_it_is_known() {
    let server = server();
    for known in [
        None,
        Some("application/octet-stream"),
        Some("text/plain; charset=x"),
    ] {
        let upstream = Upstream::new(move |_| {
            let mut response = reply(200, "text/plain", "ok");
            match known {
                Some(known) => response
                    .headers_mut()
                    .insert("content-type", http::HeaderValue::from_static(known)),
                None => response.headers_mut().remove("content-type"),
            };
            response
        });
        let upstream = upstream.await;
        let query = "?key=one&stream=known";
        let created = server.relay(query, "GET", &upstream.url).send().await;
        assert_eq!(created.status(), 201);
        let path = location(&created);
        let joined = server.relay(query, "GET", &upstream.url).send().await;
        assert_eq!(joined.status(), 200);
        let head = server
            .client
            .request(Method::HEAD, bare(&path))
            .send()
            .await;
        let get = server.client.get(&path).send().await;
        assert_eq!(
            header(&get, "content-type"),
            known.unwrap_or("application/octet-stream")
        );
        for response in [created, joined, head, get] {
            let told = response.headers().get("upstream-content-type");
            assert_eq!(told.map(|told| told.to_str().unwrap()), known);
        }
        server.delete("known").await;
    }
}

#[tokio::test]
async fn a_reader_at_the_end_of_a_relay_gets_one_control_event() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let path = server.relayed("", &upstream.url).await;
    assert_eq!(server.ended(&path).await, None);
    let body = server.text_of(&with(&path, "offset=now&live=sse")).await;
    assert_eq!(body.matches("event: control").count(), 1, "{body}");
    assert_eq!(body.matches("\"streamClosed\":true").count(), 1, "{body}");
}
