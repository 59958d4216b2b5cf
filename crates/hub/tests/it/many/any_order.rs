//! Many concurrent readers and writers, in any order.

use std::{collections::HashSet, sync::Arc, time::Duration};

use headwater::Format;
use headwater_hub::Options;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Server;

const EACH: u64 = 300;
const ALL: usize = 4 * 300;

/// Writers on several threads, and readers that disconnect at any event and resume: all see the
/// same order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_readers_see_one_order_across_disconnects() {
    for server in Server::of_each_kind() {
        see_one_order(Arc::new(server)).await;
    }
}

async fn see_one_order(server: Arc<Server>) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4_u64 {
        let server = Arc::clone(&server);
        tasks.spawn(async move {
            server.put_json(&format!("w/{writer}"), "[]").await;
            for n in 0..EACH {
                server
                    .post_json(&format!("w/{writer}"), &format!("[{n}]"))
                    .await;
                if n % 16 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            None
        });
    }
    for reader in 0..6_u64 {
        let server = Arc::clone(&server);
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(reader);
            let format = if reader % 2 == 0 {
                Format::Sse
            } else {
                Format::Ndjson
            };
            let mut seen: Vec<Value> = Vec::new();
            while seen.len() < ALL {
                let mut request = server.many("stream=w/*", format);
                if let Some(last) = seen.last() {
                    request = request.last_event_id(last["id"].as_str().expect("it is text"));
                }
                let mut events = request.stream::<Value>().await;
                let count = random.usize(1..100).min(ALL - seen.len());
                seen.extend(events.take(count).await);
            }
            Some(seen)
        });
    }
    let all = async {
        let mut orders = Vec::new();
        while let Some(order) = tasks.join_next().await {
            orders.extend(order.expect("no task fails"));
        }
        orders
    };
    let orders = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("all of it ends");
    for order in &orders[1..] {
        assert_eq!(order, &orders[0]);
    }
    for writer in 0..4 {
        let stream = format!("w/{writer}");
        let own = orders[0].iter().filter(|event| event["stream"] == *stream);
        let numbers: Vec<_> = own.map(|event| event["data"].as_u64()).collect();
        assert_eq!(numbers, (0..EACH).map(Some).collect::<Vec<_>>());
    }
}

/// Each reader has a pattern that no other one has, and connects while the pump reads for the
/// others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_with_its_own_pattern_misses_nothing_under_load() {
    for server in Server::of_each_kind() {
        let server = Arc::new(server);
        let mut tasks = tokio::task::JoinSet::new();
        for own in 0..4_u64 {
            let path = format!("own/{own}");
            server.put_json(&path, "[]").await;
            let (writer, reader) = (Arc::clone(&server), Arc::clone(&server));
            let query = format!("stream={path}");
            tasks.spawn(async move {
                for n in 0..EACH {
                    writer.post_json(&path, &n.to_string()).await;
                }
            });
            tasks.spawn(async move {
                let mut random = fastrand::Rng::with_seed(own);
                let (mut seen, mut after) = (0, "-1".to_owned());
                while seen < EACH {
                    let query = format!("{query}&after={after}");
                    let mut events = reader.many(&query, Format::Sse).stream::<Value>().await;
                    let count = random.u64(1..12).min(EACH - seen);
                    for _ in 0..count {
                        let event = events.next().await.expect("it is live");
                        assert_eq!(number(&event), seen);
                        after = event["id"].as_str().expect("it is text").to_owned();
                        seen += 1;
                    }
                }
            });
        }
        let all = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await;
        all.expect("all of it ends");
    }
}

/// The definition of matching, by exhaustive search.
fn means(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=name.len()).any(|take| means(rest, &name[take..])),
        (Some((first, rest)), Some((segment, names))) => {
            (*first == "*" || first == segment) && means(rest, names)
        }
        _ => false,
    }
}

/// A step of a case.
#[derive(Clone, Debug)]
enum Step {
    /// Appends this many messages to a stream, which is created if necessary.
    Append(prop::sample::Index, usize),
    /// Reads up to this many of the due events and disconnects.
    Take(usize, bool),
}

/// Streams, and the patterns of a reader.
#[derive(Debug)]
struct Case {
    patterns: Vec<Vec<&'static str>>,
    names: Vec<Vec<&'static str>>,
    steps: Vec<Step>,
}

impl Case {
    fn any() -> impl Strategy<Value = Self> {
        let path =
            |words: &'static [&str]| prop::collection::vec(prop::sample::select(words), 1..4);
        let patterns = prop::collection::vec(path(&["a", "b", "*", "**"]), 1..4);
        let names = prop::collection::vec(path(&["a", "b", "c"]), 1..6);
        let index = any::<prop::sample::Index>;
        let step = prop_oneof![
            2 => (index(), 1..4_usize).prop_map(|(which, count)| Step::Append(which, count)),
            1 => (0..6_usize, any::<bool>()).prop_map(|(count, sse)| Step::Take(count, sse)),
        ];
        let steps = prop::collection::vec(step, 0..30);
        (patterns, names, steps).prop_map(|(patterns, names, steps)| Self {
            patterns,
            names,
            steps,
        })
    }

    /// Runs the case in a folder of its own.
    async fn check(&self, server: &Server, folder: &str) {
        let patterns: Vec<_> = self
            .patterns
            .iter()
            .map(|pattern| format!("stream={folder}/{}", pattern.join("/")))
            .collect();
        let base = server.order(server.log.usage().head.number());
        let query = |after: &str| format!("{}&after={after}", patterns.join("&"));
        let follow = server.many(&query(&base), Format::Sse);
        let mut follow = follow.stream::<Value>().await;
        let mut created = HashSet::new();
        let mut published = 0;
        // The events that match the patterns, and the ones that a reader received with many
        // reconnects.
        let (mut due, mut got) = (Vec::new(), Vec::new());
        let mut after = base;
        for step in &self.steps {
            match step {
                Step::Append(which, count) => {
                    let name = which.get(&self.names);
                    let path = format!("{folder}/{}", name.join("/"));
                    if created.insert(name) {
                        server.put_json(&path, "[]").await;
                    }
                    let numbers: Vec<u64> = (published..).take(*count).collect();
                    published += *count as u64;
                    server.post_json(&path, &json!(numbers).to_string()).await;
                    if self.patterns.iter().any(|pattern| means(pattern, name)) {
                        due.extend(numbers);
                    }
                }
                Step::Take(count, sse) => {
                    let format = if *sse { Format::Sse } else { Format::Ndjson };
                    let mut events = server.many(&query(&after), format).stream::<Value>().await;
                    let count = (*count).min(due.len() - got.len());
                    for event in events.take(count).await {
                        after = event["id"].as_str().expect("it is text").to_owned();
                        got.push(number(&event));
                    }
                }
            }
        }
        got.extend(server.all(&query(&after)).await.iter().map(number));
        assert_eq!(got, due);
        let followed = follow.take(due.len()).await;
        assert_eq!(followed.iter().map(number).collect::<Vec<_>>(), due);
    }
}

fn number(event: &Value) -> u64 {
    event["data"].as_u64().expect("it is a number")
}

/// Runs many cases.
fn check_all(server: impl FnOnce() -> Server, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("there is a runtime");
    let server = runtime.block_on(async { server() });
    let folder = std::cell::Cell::new(0);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..Default::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let checked = runner.run(&Case::any(), |case| {
        folder.set(folder.get() + 1);
        runtime.block_on(case.check(&server, &format!("case{}", folder.get())));
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn readers_receive_exactly_the_matching_events_across_disconnects() {
    check_all(Server::new, 96);
}

#[test]
fn readers_receive_exactly_the_matching_events_from_disk() {
    check_all(|| Server::on_disk(Options::new()), 48);
}
