//! Messages that caps removed before they were sent.

use std::{collections::HashMap, time::Duration};

use headwater::Format;
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::event;
use crate::Server;

impl Server {
    /// Creates a stream with a cap: `("size", bytes)` or `("age", seconds)`.
    async fn put_capped(&self, path: &str, (what, cap): (&str, u64)) {
        let header = match what {
            "size" => "stream-max-bytes",
            _ => "stream-max-age",
        };
        let put = self
            .request(Method::PUT, path)
            .header(header, &cap.to_string());
        let put = put.header("content-type", "application/json");
        assert_eq!(put.send().await.status(), 201);
    }

    /// Waits until a stream has lost all messages before this offset.
    async fn trimmed(&self, path: &str, floor: u64) {
        let name = headwater_log::StreamName::new(path).expect("it is a name");
        let wait = async {
            while self
                .log
                .info(&name)
                .await
                .expect("it is there")
                .floor
                .number()
                < floor
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{path} isn't trimmed up to {floor}");
    }
}

fn notice(server: &Server, id: u64, stream: &str, at: u64) -> Value {
    let (id, offset) = (server.order(id), server.at(stream, at));
    json!({"id": id, "stream": stream, "offset": offset, "trimmed": true})
}

#[tokio::test]
async fn messages_trimmed_before_they_were_sent_are_reported_in_order() {
    for server in Server::of_each_kind() {
        server.put_capped("a", ("size", 10)).await;
        server.put_json("b", "[0]").await;
        for n in 0..4 {
            server
                .post_json("a", &format!("[{}]", 11_111 * (n + 1)))
                .await;
        }
        server.post_json("b", "1").await;
        server.trimmed("a", 2).await;
        let expected = [
            event(&server, 1, "b", 1, &json!(0)),
            notice(&server, 3, "a", 2),
            event(&server, 4, "a", 3, &json!(33_333)),
            event(&server, 5, "a", 4, &json!(44_444)),
            event(&server, 6, "b", 2, &json!(1)),
        ];
        assert_eq!(server.all("stream=*").await, expected);
        // A reader that resumes from before the removed messages receives the same. One that is
        // past them doesn't need the notice.
        for (after, rest) in [(0, &expected[..]), (1, &expected[1..]), (2, &expected[1..])] {
            let found = server
                .all(&format!("stream=*&after={}", server.order(after)))
                .await;
            assert_eq!(found, rest, "after {after}");
        }
        for after in 3..6 {
            let found = server
                .all(&format!("stream=*&after={}", server.order(after)))
                .await;
            assert!(found.iter().all(|event| event.get("trimmed").is_none()));
        }
        assert_eq!(
            server.all("stream=b").await.len(),
            2,
            "it wants nothing of it"
        );
    }
}

#[tokio::test]
async fn in_sse_a_trim_is_an_event_with_an_id_to_resume_from() {
    for server in Server::of_each_kind() {
        server.put_capped("a", ("size", 10)).await;
        for n in 0..3 {
            server
                .post_json("a", &format!("[{}]", 11_111 * (n + 1)))
                .await;
        }
        server.trimmed("a", 1).await;
        let mut events = server.many("stream=a", Format::Sse).stream::<Value>().await;
        let told = events.next_event().await.expect("it is due");
        assert_eq!(&*told.event, "headwater:trimmed");
        let data: Value = serde_json::from_str(&told.data).expect("it is JSON");
        assert_eq!(data, notice(&server, 1, "a", 1));
        let again = server.many("stream=a", Format::Sse).last_event_id(&told.id);
        let mut again = again.stream::<Value>().await;
        let next = again.next_event().await.expect("it is due");
        assert_eq!(&*next.event, "message");
        assert_eq!(
            events.next().await,
            Some(event(&server, 2, "a", 2, &json!(22_222)))
        );
    }
}

#[tokio::test]
async fn a_reader_that_keeps_up_receives_no_trimmed_notice() {
    for server in Server::of_each_kind() {
        server.put_capped("a", ("size", 10)).await;
        let query = "stream=*&after=now";
        let mut live = server.many(query, Format::Ndjson).stream::<Value>().await;
        for n in 1..=20 {
            server.post_json("a", &format!("[{}]", 10_000 + n)).await;
            let due = event(&server, n, "a", n, &json!(10_000 + n));
            assert_eq!(live.next().await, Some(due));
        }
    }
}

#[tokio::test]
async fn a_reader_that_fell_behind_receives_a_notice_without_new_messages() {
    for server in Server::of_each_kind() {
        server.put_capped("a", ("age", 60)).await;
        server.post_json("a", "[1,2,3]").await;
        server.clock.advance(Duration::from_secs(61));
        // In memory, a write triggers the trimming.
        server.put_json("b", "[]").await;
        server.trimmed("a", 3).await;
        for format in [Format::Sse, Format::Ndjson] {
            let mut live = server.many("stream=*", format).stream::<Value>().await;
            assert_eq!(
                live.next().await,
                Some(notice(&server, 3, "a", 3)),
                "{format:?}"
            );
        }
    }
}

/// A reader that checks its events against the published messages.
#[derive(Default)]
struct Reader {
    /// The id to resume from.
    after: Option<String>,
    /// The next offset of each stream.
    due: HashMap<String, u64>,
}

impl Reader {
    fn take(&mut self, event: &Value) {
        let id = event["id"].as_str().expect("it is text").to_owned();
        assert!(self.after.as_ref() < Some(&id), "{event} is not in order");
        self.after = Some(id);
        let stream = event["stream"].as_str().expect("it is text");
        let next: Option<headwater_log::Mark> =
            event["offset"].as_str().and_then(|text| text.parse().ok());
        let next = next.expect("it is an offset").at.number();
        let due = self.due.entry(stream.to_owned()).or_default();
        if event.get("trimmed").is_some() {
            assert!(next > *due, "{event}: it has had all before {due}");
        } else {
            assert_eq!(next, *due + 1, "{event}: {due} is due");
            assert_eq!(event["data"][0], *due, "{event}");
        }
        *due = next;
    }

    fn query(&self) -> String {
        let after = self.after.as_deref().unwrap_or("-1");
        format!("stream=**&after={after}")
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, usize),
    /// Reads up to this many events and disconnects.
    Read(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, 1..20_usize).prop_map(|(stream, size)| Step::Append(stream, size)),
        1 => (1..8_usize, any::<bool>()).prop_map(|(count, sse)| Step::Read(count, sse)),
    ]
}

async fn have_all_or_are_told(server: &Server, steps: &[Step]) {
    let streams = ["a", "b", "c"];
    for (stream, cap) in streams.iter().zip([20, 80, 1000]) {
        server.put_capped(stream, ("size", cap)).await;
    }
    let follow = server.many("stream=**", Format::Sse);
    let mut follow = follow.stream::<Value>().await;
    let (mut reader, mut follower) = (Reader::default(), Reader::default());
    let mut appended = [0_u64; 3];
    for step in steps {
        match step {
            Step::Append(stream, size) => {
                let message = json!([[appended[*stream], "x".repeat(*size)]]);
                server
                    .post_json(streams[*stream], &message.to_string())
                    .await;
                appended[*stream] += 1;
            }
            Step::Read(count, sse) => {
                let format = if *sse { Format::Sse } else { Format::Ndjson };
                let query = format!("{}&live=false", reader.query());
                let mut events = server.many(&query, format).stream::<Value>().await;
                for event in events.take(*count).await {
                    reader.take(&event);
                }
            }
        }
    }
    for event in server.all(&reader.query()).await {
        reader.take(&event);
    }
    let all: HashMap<_, _> = streams.iter().copied().zip(appended).collect();
    let is_done = |reader: &Reader| {
        all.iter()
            .all(|(stream, count)| reader.due.get(*stream).copied().unwrap_or(0) == *count)
    };
    assert!(is_done(&reader), "{:?} of {all:?}", reader.due);
    while !is_done(&follower) {
        let event = follow.next().await.expect("it is live");
        follower.take(&event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_receive_every_message_or_a_notice(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("there is a runtime").block_on(async {
            for server in Server::of_each_kind() {
                have_all_or_are_told(&server, &steps).await;
            }
        });
    }
}
