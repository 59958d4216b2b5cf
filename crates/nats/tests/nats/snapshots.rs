//! Snapshots, what a hub reads at its start, and the removal of records.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use headwater_log::{Clock, Create, Log, Offset, Position, ReadFrom, Settings, StreamName};
use headwater_nats::{NatsLog, NatsOptions};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::ops::{Subject, cases, compare, few, op};
use crate::servers::Servers;
use crate::support::{
    Hubs, START, all, append, by_hand, fresh, name, open_log, outside, plain, run, texts, try_open,
};

/// Returns options with which a test stores all snapshots by itself, and everything is removed that isn't needed.
fn by_request(servers: &Servers) -> NatsOptions {
    let mut options = fresh(servers);
    options.snapshots.every = Duration::from_secs(3600);
    options.snapshots.kept = 0;
    options.cache_bytes = 0;
    options
}

fn snapshot(log: &NatsLog) {
    assert!(outside(log.snapshot()).unwrap());
}

async fn context(servers: &Servers) -> jetstream::Context {
    jetstream::new(async_nats::connect(servers.urls()).await.unwrap())
}

/// Returns the state of a JetStream stream.
fn state(servers: &Servers, name: &str) -> stream::State {
    outside(async {
        let stream = context(servers).await.get_stream(name).await.unwrap();
        stream.cached_info().state.clone()
    })
}

fn snapshots_of(options: &NatsOptions) -> String {
    format!("{}+snapshots", options.prefix)
}

/// Returns all messages of a stream. One read has a bounded number of records.
pub(crate) async fn whole(log: &NatsLog, stream: &StreamName) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), Offset::START);
    loop {
        let chunk = log.read(stream, ReadFrom::At(next), usize::MAX).await;
        let chunk = chunk.unwrap();
        found.extend(texts(&chunk));
        next = chunk.next;
        if chunk.at_tail {
            return found;
        }
    }
}

struct Snapshotted {
    options: NatsOptions,
    hubs: Hubs,
    every: usize,
    steps: std::cell::Cell<usize>,
    restarts: usize,
}

impl Subject for Snapshotted {
    fn log(&self) -> &dyn Log {
        &self.hubs
    }

    fn settle(&self) {
        self.hubs.settle();
        let step = self.steps.get() + 1;
        self.steps.set(step);
        if step.is_multiple_of(self.every) {
            let hub = &self.hubs.hubs[step % self.hubs.hubs.len()];
            outside(async {
                hub.catch_up().await.unwrap();
                hub.snapshot().await.unwrap();
            });
        }
    }

    fn restart(&mut self) {
        let index = self.restarts % self.hubs.hubs.len();
        drop(self.hubs.hubs.swap_remove(index));
        self.hubs.hubs.push(open_log(&self.options));
        self.restarts += 1;
    }
}

#[test]
fn hubs_with_snapshots_behave_like_the_model() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let mut runner = TestRunner::new(cases(12));
    let cases = (
        prop::collection::vec(op(), 1..60),
        1..=2_usize,
        2..8_usize,
        0..4_u64,
    );
    let compared = runner.run(&cases, |(ops, count, every, kept)| {
        let clock = Clock::by_hand(START);
        let mut options = by_hand(&servers, &clock, few());
        options.snapshots = by_request(&servers).snapshots;
        options.snapshots.kept = kept;
        options.snapshots.chunk_bytes = 500;
        options.cache_bytes = 0;
        let hubs = Hubs::new((0..count).map(|_| open_log(&options)).collect());
        let mut subject = Snapshotted {
            options,
            hubs,
            every,
            steps: std::cell::Cell::new(0),
            restarts: 0,
        };
        compare(&mut subject, &clock, &ops);
        Ok(())
    });
    compared.unwrap();
}

#[test]
fn a_start_reads_only_what_follows_the_snapshot() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = by_request(&servers);
    let log = open_log(&options);
    let stream = name("s");
    let expected: Vec<String> = (0..310).map(|n| n.to_string()).collect();
    run(async {
        log.create(&stream, plain()).await.unwrap();
        for text in &expected[..300] {
            append(&log, &stream, &[text]).await;
        }
    });
    snapshot(&log);
    run(async {
        for text in &expected[300..] {
            append(&log, &stream, &[text]).await;
        }
    });
    let again = open_log(&options);
    assert_eq!(again.delivered(), 10);
    assert_eq!(again.usage(), log.usage());
    for log in [&log, &again] {
        assert_eq!(run(whole(log, &stream)), expected);
    }
    // Without records after the snapshot, none is read.
    snapshot(&again);
    assert_eq!(open_log(&options).delivered(), 0);
    // Of snapshots, the newest two are kept, each with its manifest, and the mark of what was removed.
    assert!(state(&servers, &snapshots_of(&options)).messages <= 6);
}

#[test]
fn a_damaged_snapshot_is_replaced_by_the_one_before() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = by_request(&servers);
    let log = open_log(&options);
    let (stream, gone) = (name("s"), name("gone"));
    let mut expected = Vec::new();
    run(log.create(&stream, plain())).unwrap();
    run(log.create(&gone, plain())).unwrap();
    run(append(&log, &gone, &["gone"]));
    for round in 0..4 {
        let text = round.to_string();
        run(append(&log, &stream, &[&text]));
        expected.push(text);
        if round == 0 {
            run(log.delete(&gone)).unwrap();
        }
        snapshot(&log);
    }
    assert!(state(&servers, &options.prefix).first_sequence > 1);
    let damage = || {
        outside(async {
            let context = context(&servers).await;
            let stream = context.get_stream(snapshots_of(&options)).await.unwrap();
            let subject = format!("{}.snapshot.chunk", options.prefix);
            let chunk = stream.get_last_raw_message_by_subject(&subject).await;
            stream
                .delete_message(chunk.unwrap().sequence)
                .await
                .unwrap();
        });
    };
    damage();
    let again = open_log(&options);
    assert!(again.delivered() > 0);
    assert_eq!(run(all(&again, &stream)), expected);
    // The next ones don't rely on the damaged one.
    run(append(&again, &stream, &["more"]));
    expected.push("more".to_owned());
    snapshot(&again);
    let third = open_log(&options);
    assert_eq!(third.delivered(), 0);
    assert_eq!(run(all(&third, &stream)), expected);
    damage();
    assert_eq!(run(all(&open_log(&options), &stream)), expected);
    damage();
    let error = try_open(&options).unwrap_err().to_string();
    assert!(error.contains("begins at record"), "{error}");
    assert!(error.contains(&snapshots_of(&options)), "{error}");
}

#[test]
fn snapshots_of_another_log_are_refused() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = by_request(&servers);
    open_log(&options);
    outside(async {
        let context = context(&servers).await;
        context.delete_stream(&options.prefix).await.unwrap();
    });
    let error = try_open(&options).unwrap_err().to_string();
    assert!(error.contains("snapshots of another log"), "{error}");
}

#[test]
fn the_space_of_deleted_streams_is_given_back() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = by_request(&servers);
    let log = open_log(&options);
    let text = "x".repeat(10_000);
    run(async {
        for number in 0..100 {
            let stream = name(&format!("s/{number}"));
            log.create(&stream, plain()).await.unwrap();
            append(&log, &stream, &[&text]).await;
        }
    });
    let full = state(&servers, &options.prefix);
    assert!(full.bytes > 1_000_000);
    run(async {
        for number in (0..100).filter(|number| number % 10 != 5) {
            log.delete(&name(&format!("s/{number}"))).await.unwrap();
        }
    });
    // The records before the first snapshot are removed when there is a second one.
    snapshot(&log);
    assert!(state(&servers, &options.prefix).bytes > 1_000_000);
    run(append(&log, &name("s/5"), &["more"]));
    snapshot(&log);
    let left = state(&servers, &options.prefix);
    assert!(left.bytes < full.bytes / 8, "{left:?}");
    assert!(left.first_sequence > 5);
    let again = open_log(&options);
    for log in [&log, &again] {
        run(async {
            for number in (0..100).filter(|number| number % 10 == 5) {
                let found = all(log, &name(&format!("s/{number}"))).await;
                assert_eq!(found[0], text);
            }
            let order = log.read_order(Position::START, usize::MAX, None).await;
            assert_eq!(order.unwrap().entries.len(), 11);
        });
    }
}

#[test]
fn the_space_of_a_log_that_is_trimmed_is_bounded() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let mut options = fresh(&servers);
    options.snapshots.every = Duration::from_millis(20);
    options.snapshots.bytes = 100_000;
    options.snapshots.kept = 10;
    let log = open_log(&options);
    let stream = name("s");
    let mut settings = Settings::of_type("text/plain");
    settings.max_bytes = Some(20_000);
    run(async {
        let mut forever = plain();
        forever.messages = vec!["first".into()];
        log.create(&name("forever"), forever).await.unwrap();
        log.create(&stream, Create::new(settings)).await.unwrap();
    });
    let mut most = 0;
    for round in 0..40 {
        run(async {
            for index in 0..50 {
                let text = format!("{round} {index} {}", "x".repeat(1000));
                append(&log, &stream, &[&text]).await;
            }
        });
        most = most.max(state(&servers, &options.prefix).bytes);
    }
    println!("of 2 MB that were written, at most {most} bytes were stored");
    assert!(most < 1_500_000, "{most}");
    let start = Instant::now();
    while state(&servers, &options.prefix).bytes > 400_000 {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(100));
        run(append(&log, &stream, &[&"y".repeat(1000)]));
    }
    assert_eq!(run(all(&log, &name("forever"))), ["first"]);
}

/// A hub stands still while others remove records that it hasn't applied.
#[test]
fn a_hub_that_was_overtaken_by_the_removal_continues_from_a_snapshot() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = by_request(&servers);
    let slow = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let log = open_log(&options);
    let stream = name("s");
    let mut settings = Settings::of_type("text/plain");
    settings.max_bytes = Some(100);
    run(log.create(&stream, Create::new(settings))).unwrap();
    for name in ["quiet", "deleted", "again"].map(name) {
        run(log.create(&name, plain())).unwrap();
    }
    let behind = slow.block_on(NatsLog::open(options.clone())).unwrap();
    let mut followers = ["s", "quiet", "deleted", "again"]
        .map(|stream| slow.block_on(behind.follow(&name(stream))).unwrap());
    let seen = followers
        .each_mut()
        .map(|follower| follower.progress().tail);
    let mut order = behind.follow_order();
    let head = order.head();
    // More than the server keeps for a client that doesn't read: 64 MB.
    let large = "x".repeat(120_000);
    for _ in 0..3 {
        run(async {
            for _ in 0..300 {
                append(&log, &stream, &[&large]).await;
            }
        });
        run(async {
            for name in ["deleted", "again"].map(name) {
                let _ = log.delete(&name).await;
            }
            log.create(&name("again"), plain()).await.unwrap();
            append(&log, &name("again"), &["new"]).await;
        });
        snapshot(&log);
    }
    slow.block_on(async {
        let [mut full, mut quiet, mut deleted, mut again] = followers;
        assert!(full.past(seen[0]).await.tail > seen[0]);
        assert!(deleted.past(seen[2]).await.gone);
        assert!(again.past(seen[3]).await.gone);
        assert!(order.past(head).await.is_some());
        // The loss of a connection isn't the end of the test's patience.
        behind.catch_up().await.unwrap();
        assert!(quiet.progress().tail == seen[1] && !quiet.progress().gone);
        for (stream, text) in [("s", "late"), ("quiet", "late"), ("again", "late")] {
            append(&behind, &name(stream), &[text]).await;
        }
        assert_eq!(quiet.past(seen[1]).await.tail.number(), 1);
        assert_eq!(all(&behind, &name("again")).await, ["new", "late"]);
        assert!(
            behind
                .info(&name("deleted"))
                .await
                .unwrap_err()
                .is_not_found()
        );
    });
    // It had read them one by one otherwise.
    let read = behind.delivered();
    assert!(read < 600, "{read}");
    let fresh = open_log(&options);
    assert_eq!(run(all(&fresh, &stream)), ["late"]);
    assert_eq!(run(all(&fresh, &name("quiet"))), ["late"]);
}
