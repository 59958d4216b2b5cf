mod any_order;

use std::collections::BTreeMap;

use super::*;
use crate::subscriptions::limits::{LINKS, SUBSCRIPTIONS};
use crate::subscriptions::pattern::Pattern;
use crate::subscriptions::state::{Link, State, Target};
use headwater_log::{
    Append, Create, FjallLog, FjallOptions, Info, MemoryLog, MemoryOptions, Offset, ReadFrom,
    Settings,
};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(10);

/// An engine whose turns and clock a test turns, over a log in memory.
struct Bench {
    log: Arc<dyn Log>,
    /// Where the log is, if it is on disk.
    folder: Option<TempDir>,
    clock: Clock,
    engine: Engine,
    journal: Journal,
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn id() -> Arc<str> {
    "sub".into()
}

fn open(folder: &TempDir) -> Arc<dyn Log> {
    Arc::new(FjallLog::open(folder.path(), FjallOptions::default()).unwrap())
}

/// A pull-wake subscription to `s/*`, and to these.
fn config(streams: &[&str]) -> Config {
    Config {
        pattern: Some(Pattern::new("s/*").unwrap()),
        streams: streams.iter().map(|text| name(text)).collect(),
        target: Target::WakeStream(name("wakes")),
        lease_ms: 10_000,
        description: None,
    }
}

impl Bench {
    async fn new() -> Self {
        let mut options = MemoryOptions::default();
        options.max_bytes = 1 << 30;
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(options));
        Self::begin(log, None).await
    }

    async fn on_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder);
        Self::begin(log, Some(folder)).await
    }

    async fn begin(log: Arc<dyn Log>, folder: Option<TempDir>) -> Self {
        let json = Create::new(Settings::of_type("application/json"));
        log.create(&name("wakes"), json).await.unwrap();
        Self::over(log, folder, Clock::by_hand(Timestamp(1_000_000))).await
    }

    async fn over(log: Arc<dyn Log>, folder: Option<TempDir>, clock: Clock) -> Self {
        let (_, commands) = mpsc::channel(1);
        let mut engine = Engine::new(Arc::clone(&log), SubscriptionOptions::default(), commands);
        engine.clock = clock.clone();
        let journal = engine.open().await.unwrap();
        Self {
            log,
            folder,
            clock,
            engine,
            journal,
        }
    }

    /// As after a crash: all that is left is in the log.
    async fn restart(self) -> Self {
        let Self {
            mut log,
            folder,
            clock,
            engine,
            journal,
        } = self;
        drop((engine, journal));
        if let Some(folder) = &folder {
            log.close().await.unwrap();
            drop(log);
            log = open(folder);
        }
        Self::over(log, folder, clock).await
    }

    async fn turn(&mut self) {
        assert!(self.engine.turn(Event::Turn, &mut self.journal).await);
    }

    async fn ask<T>(&mut self, make: impl FnOnce(Answer<T>) -> Command) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let event = Event::Command(make(answer));
        assert!(self.engine.turn(event, &mut self.journal).await);
        answered.await.unwrap()
    }

    async fn put(&mut self, id: Arc<str>, config: Config) -> Result<bool, Refusal> {
        let (config, base) = (Box::new(config), "http://hub/streams".to_owned());
        let put = self
            .ask(|answer| Command::Put {
                id,
                config,
                base,
                answer,
            })
            .await;
        put.map(|(is_new, _)| is_new)
    }

    /// A claim as the worker sees it: wake, generation, token, and the streams with their tails.
    async fn claim(&mut self) -> Result<Claim, Refusal> {
        let make = |answer| Command::Claim {
            id: id(),
            worker: "w".to_owned(),
            answer,
        };
        let claimed = serde_json::to_value(self.ask(make).await?).unwrap();
        let streams = claimed["streams"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Ok(Claim {
            wake_id: text(&claimed["wake_id"]),
            generation: claimed["generation"].as_u64().unwrap(),
            token: text(&claimed["token"]),
            streams: streams
                .filter(|stream| stream["has_pending"] == true)
                .map(|stream| {
                    (
                        name(&text(&stream["path"])),
                        text(&stream["tail_offset"]).parse().unwrap(),
                    )
                })
                .collect(),
        })
    }

    async fn ack(
        &mut self,
        claim: &Claim,
        acks: Vec<(StreamName, Offset)>,
        done: bool,
    ) -> Result<bool, Refusal> {
        let Claim {
            wake_id,
            generation,
            token,
            ..
        } = claim.clone();
        let ack = Ack {
            wake_id,
            generation,
            acks,
            done,
        };
        self.ask(|answer| Command::Ack {
            id: id(),
            token,
            ack,
            webhook: false,
            answer,
        })
        .await
    }

    async fn release(&mut self, claim: &Claim) -> Result<(), Refusal> {
        let Claim {
            wake_id,
            generation,
            token,
            ..
        } = claim.clone();
        let make = |answer| Command::Release {
            id: id(),
            token,
            wake_id,
            generation,
            answer,
        };
        self.ask(make).await
    }

    async fn append(&self, stream: &str) -> Offset {
        let stream = name(stream);
        let json = Create::new(Settings::of_type("application/json"));
        self.log.create(&stream, json).await.unwrap();
        self.log
            .append(&stream, Append::new(vec!["1".into()]))
            .await
            .unwrap();
        self.info(&stream).await.tail
    }

    async fn info(&self, stream: &StreamName) -> Info {
        self.log.info(stream).await.unwrap()
    }

    /// How many wake events were written.
    async fn wakes(&self) -> u64 {
        self.info(&name("wakes")).await.tail.number()
    }

    fn known(&self) -> &crate::subscriptions::state::Subscription {
        self.engine.registry.get(&id()).unwrap()
    }

    fn link(&self, stream: &str) -> Option<Link> {
        self.known().links.get(&name(stream)).copied()
    }

    /// All that a restart must bring back.
    fn all(&self) -> BTreeMap<Arc<str>, Known> {
        let all = self.engine.registry.iter().map(|(id, known)| {
            let links = known
                .links
                .iter()
                .map(|(name, link)| (name.clone(), *link))
                .collect();
            (Arc::clone(id), (known.digest.clone(), known.state(), links))
        });
        all.collect()
    }
}

/// A subscription's configuration, by its digest, its state and its links.
type Known = (Vec<u8>, State, Vec<(StreamName, Link)>);

#[derive(Clone, Debug)]
struct Claim {
    wake_id: String,
    generation: u64,
    token: String,
    streams: Vec<(StreamName, Offset)>,
}

#[tokio::test]
async fn nothing_is_stored_before_there_is_a_subscription() {
    let mut bench = Bench::new().await;
    let before = bench.log.usage().streams;
    bench.append("s/a").await;
    bench.turn().await;
    assert!(matches!(bench.claim().await, Err(Refusal::NotFound)));
    let show = |answer| Command::Show {
        id: id(),
        base: String::new(),
        answer,
    };
    assert!(matches!(bench.ask(show).await, Err(Refusal::NotFound)));
    assert_eq!(bench.log.usage().streams, before + 1);
    assert!(bench.journal.numbers().is_empty());
}

#[tokio::test]
async fn streams_that_are_there_are_linked_at_their_end_and_later_ones_at_their_start() {
    let mut bench = Bench::new().await;
    let old = bench.append("s/old").await;
    bench.append("other").await;
    bench.put(id(), config(&["named"])).await.unwrap();
    assert!(matches!(bench.claim().await, Err(Refusal::NoPendingWork)));
    bench.append("s/new").await;
    bench.append("other").await;
    bench.turn().await;
    let link = bench.link("s/old").unwrap();
    assert_eq!((link.acked, link.tail), (old, old));
    let link = bench.link("s/new").unwrap();
    assert_eq!((link.acked, link.tail.number()), (Offset::START, 1));
    assert_eq!(bench.link("other"), None);
    bench.append("named").await;
    bench.turn().await;
    assert!(bench.link("named").unwrap().is_pending());
    assert_eq!(bench.wakes().await, 1, "one wake for all of it");
}

#[tokio::test]
async fn a_wake_stream_that_its_own_pattern_matches_wakes_no_one() {
    let mut bench = Bench::new().await;
    let all = Config {
        pattern: Some(Pattern::new("**").unwrap()),
        ..config(&[])
    };
    bench.put(id(), all).await.unwrap();
    bench.append("s/a").await;
    bench.turn().await;
    let claim = bench.claim().await.unwrap();
    assert_eq!(claim.streams, [(name("s/a"), Offset::new(1))]);
    assert!(
        !bench
            .ack(&claim, claim.streams.clone(), true)
            .await
            .unwrap()
    );
    bench.turn().await;
    assert_eq!(bench.wakes().await, 1);
    assert!(
        bench
            .known()
            .links
            .iter()
            .all(|(name, _)| !name.as_str().starts_with("__ds"))
    );
}

#[tokio::test]
async fn a_stream_that_is_made_anew_is_pending_from_its_start() {
    let mut bench = Bench::new().await;
    for _ in 0..3 {
        bench.append("s/a").await;
    }
    bench.put(id(), config(&[])).await.unwrap();
    bench.log.delete(&name("s/a")).await.unwrap();
    bench.append("s/a").await;
    bench.turn().await;
    let link = bench.link("s/a").unwrap();
    assert_eq!((link.acked, link.tail), (Offset::START, Offset::new(1)));
}

#[tokio::test]
async fn a_stream_that_is_gone_is_not_told_of() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&["named"])).await.unwrap();
    bench.append("s/a").await;
    bench.append("named").await;
    bench.turn().await;
    bench.log.delete(&name("s/a")).await.unwrap();
    bench.log.delete(&name("named")).await.unwrap();
    assert!(matches!(bench.claim().await, Err(Refusal::NoPendingWork)));
    assert_eq!(bench.link("s/a"), None);
    let link = bench.link("named").unwrap();
    assert_eq!((link.explicit, link.is_pending()), (true, false));
}

#[tokio::test]
async fn a_stream_that_was_named_and_matches_stays_when_the_name_is_taken_back() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&["s/a", "named"])).await.unwrap();
    for stream in ["s/a", "named", "absent"] {
        let make = |answer| Command::RemoveStream {
            id: id(),
            stream: name(stream),
            answer,
        };
        bench.ask(make).await.unwrap();
    }
    let link = bench.link("s/a").unwrap();
    assert_eq!((link.explicit, link.glob), (false, true));
    assert_eq!(bench.link("named"), None);
    bench.append("named").await;
    bench.turn().await;
    assert_eq!(bench.wakes().await, 0);
}

#[tokio::test]
async fn a_lease_ends_when_nothing_is_heard_and_lasts_while_something_is() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    bench.append("s/a").await;
    let claim = bench.claim().await.unwrap();
    for _ in 0..3 {
        bench.clock.advance(LEASE - Duration::from_millis(1));
        assert!(!bench.ack(&claim, Vec::new(), false).await.unwrap());
        assert!(matches!(
            bench.claim().await,
            Err(Refusal::AlreadyClaimed { .. })
        ));
    }
    let before = bench.wakes().await;
    bench.clock.advance(LEASE);
    assert!(matches!(
        bench.ack(&claim, Vec::new(), true).await,
        Err(Refusal::Fenced)
    ));
    assert_eq!(
        bench.wakes().await,
        before + 1,
        "what is pending makes for another wake"
    );
    let next = bench.claim().await.unwrap();
    assert_eq!(next.generation, claim.generation + 1);
}

#[tokio::test]
async fn a_wake_event_that_may_not_have_been_written_before_a_crash_is_written_after_it() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    bench.append("s/a").await;
    bench.turn().await;
    assert_eq!(bench.wakes().await, 1);
    let mut bench = bench.restart().await;
    bench.turn().await;
    assert_eq!(bench.wakes().await, 2);
    assert_eq!(bench.claim().await.unwrap().generation, 1);
    let mut bench = bench.restart().await;
    bench.turn().await;
    assert_eq!(bench.wakes().await, 2, "it is claimed, so it was seen");
}

#[tokio::test]
async fn a_worker_that_acknowledges_what_is_not_there_changes_nothing() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    bench.append("s/a").await;
    bench.append("s/b").await;
    let claim = bench.claim().await.unwrap();
    let good = (name("s/a"), Offset::new(1));
    let beyond = vec![good.clone(), (name("s/b"), Offset::new(2))];
    let refused = bench.ack(&claim, beyond, true).await;
    assert!(matches!(refused, Err(Refusal::InvalidOffset(_))));
    let unknown = vec![good.clone(), (name("other"), Offset::START)];
    assert!(matches!(
        bench.ack(&claim, unknown, true).await,
        Err(Refusal::Invalid(_))
    ));
    assert!(bench.link("s/a").unwrap().is_pending());
    // An append that the engine has not seen is no reason to refuse.
    bench.append("s/a").await;
    let ahead = vec![(name("s/a"), Offset::new(2))];
    assert!(
        bench.ack(&claim, ahead, true).await.unwrap(),
        "b is pending"
    );
    assert!(!bench.link("s/a").unwrap().is_pending());
}

#[tokio::test]
async fn a_deleted_subscription_takes_no_word_for_its_wake() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    bench.append("s/a").await;
    let claim = bench.claim().await.unwrap();
    bench
        .ask(|answer| Command::Remove { id: id(), answer })
        .await
        .unwrap();
    let acked = bench.ack(&claim, claim.streams.clone(), true).await;
    assert!(matches!(acked, Err(Refusal::NotFound)));
    // Nor does another one that takes its name.
    bench.put(id(), config(&[])).await.unwrap();
    bench.append("s/a").await;
    bench.claim().await.unwrap();
    assert!(matches!(bench.release(&claim).await, Err(Refusal::Fenced)));
    let mut bench = bench.restart().await;
    bench
        .ask(|answer| Command::Remove { id: id(), answer })
        .await
        .unwrap();
    let bench = bench.restart().await;
    assert!(bench.engine.registry.is_empty());
}

#[tokio::test]
async fn as_many_subscriptions_as_allowed_are_taken_and_one_more_is_not() {
    let mut bench = Bench::new().await;
    for n in 0..SUBSCRIPTIONS {
        assert!(bench.put(format!("{n}").into(), config(&[])).await.unwrap());
    }
    let refused = bench.put("more".into(), config(&[])).await;
    assert!(matches!(
        refused,
        Err(Refusal::Limit {
            limit: SUBSCRIPTIONS,
            ..
        })
    ));
    assert!(
        !bench.put("0".into(), config(&[])).await.unwrap(),
        "it is there already"
    );
    let other = Config {
        description: Some("other".to_owned()),
        ..config(&[])
    };
    assert!(matches!(
        bench.put("0".into(), other).await,
        Err(Refusal::AlreadyExists)
    ));
}

#[tokio::test]
async fn more_streams_than_one_subscription_keeps_are_all_told_of_in_the_end() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    let others = Config {
        pattern: Some(Pattern::new("other/*").unwrap()),
        ..config(&[])
    };
    bench.put("others".into(), others).await.unwrap();
    let streams = LINKS + 2500;
    for n in 0..streams {
        bench.append(&format!("s/{n}")).await;
        if n % 100 == 0 {
            bench.append(&format!("other/{n}")).await;
        }
    }
    let mut told = std::collections::BTreeSet::new();
    let mut rounds = 0;
    while told.len() < streams {
        rounds += 1;
        assert!(rounds < 40, "told of {} of {streams}", told.len());
        if rounds % 5 == 0 {
            bench = bench.restart().await;
        }
        let claim = bench.claim().await.unwrap();
        assert!(bench.known().links.len() <= LINKS);
        told.extend(claim.streams.iter().map(|(name, _)| name.clone()));
        bench
            .ack(&claim, claim.streams.clone(), true)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_journal_is_rewritten_in_pieces_and_is_right_at_each_of_them() {
    let mut bench = Bench::new().await;
    for n in 0..7000 {
        bench.append(&format!("s/{n}")).await;
    }
    bench.put(id(), config(&[])).await.unwrap();
    bench.put("small".into(), config(&["x"])).await.unwrap();
    let keys = bench.journal.keys().unwrap();
    let mut copying = 0;
    let mut round = 0;
    while bench.journal.numbers() != [1] {
        round += 1;
        assert!(round < 100, "the journal was never rewritten");
        for n in 0..1000 {
            bench
                .append(&format!("s/{}", (round * 1000 + n) % 7000))
                .await;
        }
        let claim = bench.claim().await.unwrap();
        bench
            .ack(&claim, claim.streams.clone(), true)
            .await
            .unwrap();
        if bench.journal.numbers().len() > 1 && copying < 5 {
            copying += 1;
            bench.turn().await;
            let before = bench.all();
            bench = bench.restart().await;
            assert_eq!(bench.all(), before);
        }
    }
    assert!(copying > 0, "no restart was in the midst of it");
    assert_eq!(bench.journal.numbers(), [1]);
    let before = bench.all();
    let mut bench = bench.restart().await;
    assert_eq!(bench.all(), before);
    assert_eq!(bench.journal.keys().unwrap().kid(), keys.kid());
    let page = bench.log.list("__ds/", None, 10).await.unwrap();
    assert_eq!(page.streams.len(), 1);
}

#[tokio::test]
async fn a_damaged_journal_is_not_taken_for_an_empty_one() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    let journal = name("__ds/journal/0000000000000000");
    let chunk = bench
        .log
        .read(&journal, ReadFrom::Start, 1 << 20)
        .await
        .unwrap();
    assert!(!chunk.messages.is_empty());
    bench
        .log
        .append(
            &journal,
            Append::new(vec![r#"{"record":"of another kind"}"#.into()]),
        )
        .await
        .unwrap();
    let mut registry = Registry::default();
    let opened = Journal::open(Arc::clone(&bench.log), &mut registry).await;
    assert!(matches!(opened, Err(Unreadable::Record(_))));
}

#[tokio::test]
async fn a_wake_stream_that_is_not_there_is_tried_again() {
    let mut bench = Bench::new().await;
    let absent = Config {
        target: Target::WakeStream(name("later")),
        ..config(&[])
    };
    bench.put(id(), absent).await.unwrap();
    bench.append("s/a").await;
    bench.turn().await;
    assert!(bench.known().retry_at.is_some());
    let json = Create::new(Settings::of_type("application/json; charset=utf-8"));
    bench.log.create(&name("later"), json).await.unwrap();
    bench.clock.advance(Duration::from_millis(1300));
    // The failure is only seen when it is stored; so is what follows.
    bench.turn().await;
    let events = bench
        .log
        .read(&name("later"), ReadFrom::Start, 1 << 20)
        .await
        .unwrap()
        .messages;
    assert_eq!(events.len(), 1);
    let event: serde_json::Value = serde_json::from_slice(&events[0].bytes).unwrap();
    assert_eq!(event["type"], "wake");
    assert_eq!(
        (&event["subscription_id"], &event["stream"]),
        (&"sub".into(), &"s/a".into())
    );
    assert_eq!(event["generation"], 2);
}
