//! Two hubs on one log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log::{
    Append, Create, Expiry, Log, Offset, Outcome, Position, ReadFrom, Refusal, Settings,
};

use crate::servers::Servers;
use crate::support::{
    START, all, append, by_hand, fresh, name, open_log, outside, plain, run, runtime, texts,
};
use headwater_log::{Clock, Limits};
use headwater_nats::NatsLog;

#[test]
fn what_one_hub_acknowledged_the_other_one_reads() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let (one, other) = (open_log(&options), open_log(&options));
    assert_eq!(one.identity(), other.identity());
    run(async {
        for round in 0..50 {
            let stream = name(&format!("s/{round}"));
            let (here, there) = match round % 2 {
                0 => (&one, &other),
                _ => (&other, &one),
            };
            assert!(here.create(&stream, plain()).await.unwrap().is_new);
            assert!(!there.create(&stream, plain()).await.unwrap().is_new);
            append(here, &stream, &["a"]).await;
            assert_eq!(all(there, &stream).await, ["a"]);
            let receipt = append(there, &stream, &["b"]).await;
            assert_eq!(all(here, &stream).await, ["a", "b"]);
            let order = here.read_order(Position::START, usize::MAX, None).await;
            assert_eq!(order.unwrap().next, receipt.position);
            there.delete(&stream).await.unwrap();
            assert!(here.info(&stream).await.unwrap_err().is_not_found());
        }
    });
}

/// A consumer is for records that are missing. Others come from the leader when it stores them.
#[test]
fn records_are_delivered_when_they_are_stored() {
    let Some(servers) = Servers::three() else {
        return;
    };
    let options = fresh(&servers);
    let (one, other) = (open_log(&options), open_log(&options));
    let stream = name("s");
    run(async {
        one.create(&stream, plain()).await.unwrap();
        append(&one, &stream, &["a"]).await;
        assert_eq!(all(&other, &stream).await, ["a"]);
        let before = [&one, &other].map(NatsLog::delivered);
        for _ in 0..200 {
            append(&one, &stream, &["a"]).await;
        }
        assert_eq!(all(&other, &stream).await.len(), 201);
        let after = [&one, &other].map(NatsLog::delivered);
        for (before, after) in before.into_iter().zip(after) {
            assert!(after - before < 10, "{before} to {after}");
        }
    });
}

/// A hub writes nothing for a day. Then the first batch of another one makes the log forget its
/// session, before it knows.
#[test]
fn a_hub_whose_session_is_forgotten_writes_on() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let clock = Clock::by_hand(START);
    let options = by_hand(&servers, &clock, Limits::default());
    let one = open_log(&options);
    let stream = name("s");
    run(async {
        one.create(&stream, plain()).await.unwrap();
        let large = "x".repeat(3 << 20);
        let mut expected = Vec::new();
        for message in ["a", large.as_str(), "b"] {
            clock.advance(Duration::from_secs(24 * 3600));
            let other = open_log(&options);
            for (hub, text) in [(&other, "other"), (&one, message)] {
                append(hub, &stream, &[text]).await;
                expected.push(text.to_owned());
            }
        }
        assert_eq!(all(&one, &stream).await, expected);
    });
}

#[test]
fn without_the_cluster_known_messages_can_be_read_but_not_where_they_end() {
    let Some(mut servers) = Servers::one() else {
        return;
    };
    let log = open_log(&fresh(&servers));
    let stream = name("s");
    run(async {
        log.create(&stream, plain()).await.unwrap();
        append(&log, &stream, &["a", "bc"]).await;
        servers.all[0].kill();
        let (read, measured, at_tail, info) = tokio::join!(
            log.read(&stream, ReadFrom::Start, 100),
            log.measure(&stream, ReadFrom::Start, 100),
            log.measure(&stream, ReadFrom::Tail, 100),
            log.info(&stream),
        );
        let read = read.unwrap();
        assert_eq!(texts(&read), ["a", "bc"]);
        assert!(!read.at_tail);
        assert_eq!(measured.unwrap(), read.extent());
        assert!(at_tail.unwrap_err().is_unavailable());
        assert!(info.unwrap_err().is_unavailable());
    });
}

#[test]
fn without_the_cluster_a_hub_ends_in_time() {
    let Some(mut servers) = Servers::one() else {
        return;
    };
    let log = open_log(&fresh(&servers));
    run(log.create(&name("s"), plain())).unwrap();
    servers.all[0].kill();
    run(async {
        while log.writable().is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        log.close().await.unwrap();
        assert!(log.info(&name("s")).await.unwrap_err().is_closed());
    });
}

#[test]
fn an_append_wakes_followers_on_the_other_hub() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let (one, other) = (open_log(&options), open_log(&options));
    let stream = name("s");
    run(async {
        one.create(&stream, plain()).await.unwrap();
        let mut follower = other.follow(&stream).await.unwrap();
        let mut order = other.follow_order();
        let (_, progress) =
            tokio::join!(append(&one, &stream, &["m"]), follower.past(Offset::START));
        assert_eq!(progress.tail, Offset::new(1));
        assert_eq!(order.past(Position::START).await, Some(Position::new(1)));
        one.append(&stream, Append::closing()).await.unwrap();
        assert!(follower.past(Offset::new(1)).await.closed);
        one.delete(&stream).await.unwrap();
        while !follower.progress().gone {
            assert!(follower.changed().await);
        }
    });
}

/// Every number of a producer is sent by both hubs at once, half of them with other messages. Each
/// is stored once, and the loser is told so.
#[test]
fn of_two_appends_with_one_number_one_is_stored() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let (one, other) = (open_log(&options), open_log(&options));
    let stream = name("s");
    run(async {
        one.create(&stream, plain()).await.unwrap();
        for seq in 0..100_u64 {
            let text = |hub: u64| format!("{seq} {}", hub * (seq % 2));
            let sent = |hub: u64| Append::new(vec![text(hub).into()]).by("p", 0, seq);
            let (a, b) = tokio::join!(one.append(&stream, sent(0)), other.append(&stream, sent(1)));
            let (a, b) = (a.unwrap(), b.unwrap());
            let stored = [&a, &b]
                .iter()
                .filter(|outcome| matches!(outcome, Outcome::Appended(_)))
                .count();
            assert_eq!(stored, 1, "{a:?} {b:?}");
            let loser = if matches!(a, Outcome::Appended(_)) {
                b
            } else {
                a
            };
            match loser {
                Outcome::Duplicate(again) => {
                    assert_eq!((seq % 2, again.next.number()), (0, seq + 1));
                }
                Outcome::Refused(Refusal::Reused { received, .. }) => {
                    assert_eq!((seq % 2, received), (1, seq));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(all(&other, &stream).await.len(), 100);
    });
}

#[test]
fn of_two_creations_and_of_two_closes_one_wins() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let (one, other) = (open_log(&options), open_log(&options));
    run(async {
        for round in 0..50 {
            let stream = name(&format!("s/{round}"));
            let (a, b) = tokio::join!(one.create(&stream, plain()), other.create(&stream, plain()));
            let (a, b) = (a.unwrap(), b.unwrap());
            assert!(a.is_new != b.is_new);
            assert_eq!(a.info, b.info);
            let last = |text: &str| {
                let mut append = Append::new(vec![text.to_owned().into()]);
                append.close = true;
                append
            };
            let (a, b) = tokio::join!(
                one.append(&stream, last("a")),
                other.append(&stream, last("b"))
            );
            let closed = [a.unwrap(), b.unwrap()].map(|outcome| match outcome {
                Outcome::Appended(receipt) => receipt.closed,
                Outcome::Refused(Refusal::Closed { .. }) => false,
                other => panic!("{other:?}"),
            });
            assert!(closed[0] != closed[1]);
            assert_eq!(all(&one, &stream).await.len(), 1);
        }
    });
}

#[test]
fn concurrent_appends_of_two_hubs_are_each_stored_once_and_in_order() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let hubs = [open_log(&options), open_log(&options)].map(Arc::new);
    run(hubs[0].create(&name("s"), plain())).unwrap();
    outside(async {
        let tasks: Vec<_> = (0..32_usize)
            .map(|task| {
                let hub = Arc::clone(&hubs[task % 2]);
                runtime().spawn(async move {
                    for step in 0..20 {
                        let text = format!("{task:02} {step:02}");
                        let receipt = append(&*hub, &name("s"), &[&text]).await;
                        let at = Position::new(receipt.position.number() - 1);
                        let chunk = hub.read_order(at, 0, None).await.unwrap();
                        assert_eq!(chunk.entries[0].message.bytes, text);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let found = run(all(&*hubs[0], &name("s")));
    assert_eq!(found, run(all(&*hubs[1], &name("s"))));
    for task in 0..32 {
        let own = format!("{task:02} ");
        let own: Vec<_> = found.iter().filter(|text| text.starts_with(&own)).collect();
        assert_eq!(own.len(), 20);
        assert!(own.is_sorted());
    }
}

#[test]
fn an_expiry_is_seen_by_both_hubs_at_once_and_reported_once() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let clock = Clock::by_hand(START);
    let options = by_hand(&servers, &clock, Limits::default());
    let hubs = [open_log(&options), open_log(&options)];
    let mut settings = Settings::of_type("text/plain");
    settings.expiry = Some(Expiry::Idle(Duration::from_secs(60)));
    let stream = name("s");
    run(async {
        hubs[0]
            .create(&stream, Create::new(settings))
            .await
            .unwrap();
        clock.advance(Duration::from_secs(59));
        hubs[1].touch(&stream).await.unwrap();
        clock.advance(Duration::from_secs(59));
        assert!(hubs[0].info(&stream).await.is_ok());
        clock.advance(Duration::from_secs(1));
        for hub in &hubs {
            assert!(hub.info(&stream).await.unwrap_err().is_not_found());
            let order = hub.read_order(Position::START, 99, None).await.unwrap();
            assert_eq!(order.ended.len(), 1);
        }
    });
}

/// A stream expires in the background, and followers on both hubs learn it.
#[test]
fn a_stream_expires_by_itself() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let hubs = [open_log(&options), open_log(&options)];
    let mut settings = Settings::of_type("text/plain");
    settings.expiry = Some(Expiry::Idle(Duration::from_millis(300)));
    let stream = name("s");
    run(async {
        let create = Create::new(settings);
        hubs[0].create(&stream, create).await.unwrap();
        let start = Instant::now();
        for hub in &hubs {
            let Ok(mut follower) = hub.follow(&stream).await else {
                continue;
            };
            assert!(follower.past(Offset::START).await.gone);
        }
        assert!(start.elapsed() < Duration::from_secs(30));
    });
}
