use std::{sync::Arc, time::Duration};

use headwater::test::{TestRequest, TestResponse};
use headwater_hub::Options;
use headwater_log::{Clock, Digest, MemoryLog, MemoryOptions};
use http::Method;

use crate::{START, Server, header};

async fn append(server: &Server, seq: u64) -> TestResponse {
    let post = server.request(Method::POST, "a");
    let post = post.header("content-type", "application/json");
    let post = post
        .header("producer-id", "p")
        .header("producer-epoch", "0");
    let post = post.header("producer-seq", &seq.to_string());
    post.body(seq.to_string()).send().await
}

#[tokio::test]
async fn reordered_appends_of_a_producer_are_accepted_in_sequence() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    assert_eq!(append(&server, 0).await.status(), 200);
    let late = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        append(&server, 1).await
    };
    let all = tokio::join!(
        append(&server, 3),
        append(&server, 2),
        append(&server, 4),
        late
    );
    for response in [all.0, all.1, all.2, all.3] {
        assert_eq!(response.status(), 200);
    }
    assert_eq!(server.get("a").send().await.text().await, "[0,1,2,3,4]");
}

#[tokio::test]
async fn an_append_with_a_missing_predecessor_is_refused_with_the_expected_sequence() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    assert_eq!(append(&server, 0).await.status(), 200);
    for early in [2, 3, 1000] {
        let response = append(&server, early).await;
        assert_eq!(response.status(), 409);
        assert_eq!(header(&response, "producer-expected-seq"), "1");
    }
    assert_eq!(append(&server, 1).await.status(), 200);
    let again = append(&server, 0).await;
    assert_eq!(again.status(), 204);
    assert_eq!(header(&again, "stream-next-offset"), server.at("a", 2));
}

#[tokio::test]
async fn a_repeated_append_after_the_close_is_a_duplicate() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[]").await;
        for seq in 0..2 {
            assert_eq!(append(&server, seq).await.status(), 200);
        }
        let close = server.request(Method::POST, "a");
        let close = close.header("stream-closed", "true").send().await;
        assert_eq!(close.status(), 204);
        for seq in 0..2 {
            let again = append(&server, seq).await;
            assert_eq!(again.status(), 204, "{seq}");
            assert_eq!(header(&again, "stream-closed"), "true");
            assert_eq!(header(&again, "producer-seq"), "1");
            assert_eq!(header(&again, "stream-next-offset"), server.at("a", 2));
        }
        let new = append(&server, 2).await;
        assert_eq!(new.status(), 409);
        assert_eq!(header(&new, "stream-closed"), "true");
    }
}

#[tokio::test]
async fn a_repeated_append_after_the_close_has_the_offset_of_the_end() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[]").await;
        assert_eq!(append(&server, 0).await.status(), 200);
        assert_eq!(append(&server, 1).await.status(), 200);
        server.post_json("a", "[7,8]").await;
        for seq in 0..2 {
            // While the stream is open, it is that of the producer's last append.
            let again = append(&server, seq).await;
            assert_eq!(header(&again, "stream-next-offset"), server.at("a", 2));
        }
        server.close("a").await;
        for seq in 0..2 {
            let again = append(&server, seq).await;
            assert_eq!(again.status(), 204, "{seq}");
            assert_eq!(header(&again, "stream-closed"), "true");
            assert_eq!(header(&again, "stream-next-offset"), server.at("a", 4));
        }
    }
}

/// Returns an append of this producer to the stream `a`.
fn by(server: &Server, id: &str, epoch: u64, seq: u64) -> TestRequest {
    server
        .request(Method::POST, "a")
        .header("content-type", "application/json")
        .header("producer-id", id)
        .header("producer-epoch", &epoch.to_string())
        .header("producer-seq", &seq.to_string())
}

fn digest(messages: &[&str]) -> String {
    let mut digest = Digest::EMPTY;
    messages
        .iter()
        .for_each(|message| digest.add(message.as_bytes()));
    digest.to_string()
}

async fn head(server: &Server, id: &str) -> TestResponse {
    let head = server.request(Method::HEAD, "a");
    head.header("producer-id", id).send().await
}

#[tokio::test]
async fn the_same_sequence_with_another_body_is_a_conflict() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[]").await;
        for (seq, body) in [(0, "1"), (1, "[2, 3]")] {
            let response = by(&server, "p", 0, seq).body(body).send().await;
            assert_eq!(response.status(), 200);
        }
        for (seq, body) in [
            (0, "2"),
            (0, "[1,1]"),
            (1, "[[2,3]]"),
            (1, "[3,2]"),
            (1, "2"),
        ] {
            let response = by(&server, "p", 0, seq).body(body).send().await;
            assert_eq!(response.status(), 409, "{seq} {body}");
            // The expected sequence is past this one, so clients don't wait for an earlier append.
            assert_eq!(header(&response, "producer-expected-seq"), "2");
            let detail = response.text().await;
            assert!(detail.contains("another append"), "{detail}");
        }
        let closing = by(&server, "p", 0, 1).header("stream-closed", "true");
        assert_eq!(closing.body("[2,3]").send().await.status(), 409);
        // White space around messages isn't part of them.
        for (seq, body) in [(0, " [ 1 ] "), (1, "[2,3]")] {
            let response = by(&server, "p", 0, seq).body(body).send().await;
            assert_eq!(response.status(), 204, "{seq} {body}");
        }
        assert_eq!(server.get("a").send().await.text().await, "[1,2,3]");
    }
}

#[tokio::test]
async fn a_sequence_that_is_too_old_to_compare_is_a_conflict() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    for seq in 0..33 {
        assert_eq!(append(&server, seq).await.status(), 200);
    }
    let response = append(&server, 0).await;
    assert_eq!(response.status(), 409);
    assert_eq!(header(&response, "producer-expected-seq"), "33");
    assert_eq!(append(&server, 1).await.status(), 204);
}

#[tokio::test]
async fn head_returns_what_a_producer_has_published() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[]").await;
        let response = head(&server, "p").await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "producer-messages"), "0");
        assert_eq!(header(&response, "producer-digest"), digest(&[]));
        assert!(response.headers().get("producer-epoch").is_none());
        by(&server, "p", 3, 0).body("[1, 2]").send().await;
        by(&server, "q", 0, 0).body("9").send().await;
        by(&server, "p", 3, 1).body("{\n\"a\": 1}").send().await;
        let response = head(&server, "p").await;
        assert_eq!(header(&response, "producer-epoch"), "3");
        assert_eq!(header(&response, "producer-seq"), "1");
        assert_eq!(header(&response, "producer-messages"), "3");
        let stored = ["1", "2", "{ \"a\": 1}"];
        assert_eq!(header(&response, "producer-digest"), digest(&stored));
        assert_eq!(header(&response, "stream-next-offset"), server.at("a", 4));
        let without = server.request(Method::HEAD, "a").send().await;
        assert!(without.headers().get("producer-messages").is_none());
        assert_eq!(head(&server, "").await.status(), 400);
        assert_eq!(head(&server, &"p".repeat(257)).await.status(), 400);
    }
}

#[tokio::test]
async fn an_epoch_can_only_be_claimed_with_the_producers_current_state() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[]").await;
        let claim = |epoch, messages: &'static [&'static str]| {
            by(&server, "p", epoch, 0)
                .header("producer-messages", &messages.len().to_string())
                .header("producer-digest", &digest(messages))
                .body("2")
                .send()
        };
        by(&server, "p", 0, 0).body("1").send().await;
        for wrong in [&[][..], &["2"], &["1", "1"]] {
            let response = claim(5, wrong).await;
            assert_eq!(response.status(), 409, "{wrong:?}");
            assert_eq!(header(&response, "producer-messages"), "1");
            assert_eq!(header(&response, "producer-digest"), digest(&["1"]));
            assert_eq!(header(&response, "producer-epoch"), "0");
        }
        assert_eq!(claim(5, &["1"]).await.status(), 200);
        // Repeated, as the response may have been lost.
        assert_eq!(claim(5, &["1"]).await.status(), 204);
        assert_eq!(claim(4, &["1"]).await.status(), 403);
        assert_eq!(claim(6, &["1"]).await.status(), 409);
        assert_eq!(claim(6, &["1", "2"]).await.status(), 200);
        assert_eq!(server.get("a").send().await.text().await, "[1,2,2]");
        let half = by(&server, "p", 7, 0).header("producer-messages", "3");
        assert_eq!(half.body("2").send().await.status(), 400);
    }
}

#[tokio::test]
async fn the_number_of_producers_is_limited_and_none_is_forgotten() {
    let mut options = MemoryOptions::default();
    options.limits.producers = 2;
    options.clock = Clock::by_hand(START);
    let clock = options.clock.clone();
    let log = Arc::new(MemoryLog::new(options));
    let server = Server::over(log, clock, None, Options::new());
    server.put_json("a", "[]").await;
    for id in ["p", "q"] {
        assert_eq!(by(&server, id, 0, 0).body("1").send().await.status(), 200);
    }
    let refused = by(&server, "r", 0, 0).body("1").send().await;
    assert_eq!(refused.status(), 409);
    let problem = refused.text().await;
    assert!(problem.contains("\"limit\":2"), "{problem}");
    for id in ["p", "q"] {
        assert_eq!(by(&server, id, 0, 0).body("1").send().await.status(), 204);
    }
    assert_eq!(server.get("a").send().await.text().await, "[1,1]");
}
