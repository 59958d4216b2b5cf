//! Storage of subscriptions, and its bounds.

use super::*;
use crate::subscriptions::limits::{EXPLICIT_BYTES, LINKS_SHARE};

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
        part: Part {
            after: None,
            until: None,
            limit: 1000,
            matching: Vec::new(),
        },
        answer,
    };
    assert!(matches!(bench.ask(show).await, Err(Refusal::NotFound)));
    assert_eq!(bench.log.usage().streams, before + 1);
    assert!(bench.journal.numbers().is_empty());
}

fn bounds() -> Bounds {
    Bounds::default()
}

async fn bounded(bounds: Bounds) -> Bench {
    let bench = Bench::new().await;
    Bench::bounded(bench.log, None, bench.clock, bounds).await
}

/// Returns the limit for which a request was refused.
fn limit<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> usize {
    match refused {
        Err(Refusal::Limit(limit)) => limit.limit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_number_of_subscriptions_is_limited() {
    let mut bench = bounded(Bounds {
        subscriptions: 3,
        ..bounds()
    })
    .await;
    for n in 0..3 {
        assert!(bench.put(format!("{n}").into(), config(&[])).await.unwrap());
    }
    let refused = bench.put("more".into(), config(&[])).await;
    assert_eq!(limit(refused), 3);
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
async fn the_bytes_of_one_and_of_all_subscriptions_are_limited() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    let one = bench.known().bytes();
    let more = ["a".repeat(500), "b".repeat(500)];
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let with_more = 2 * (500 + EXPLICIT_BYTES);

    let mut bench = bounded(Bounds {
        each: one + with_more,
        all: 2 * one + with_more,
        ..bounds()
    })
    .await;
    let add = |id: Arc<str>, stream: &str| {
        let streams = vec![name(stream)];
        move |answer| Command::AddStreams {
            id,
            streams,
            answer,
        }
    };
    bench.put(id(), config(&[])).await.unwrap();
    // A name in the configuration counts, too.
    let refused = bench.put("big".into(), config(&more)).await;
    assert_eq!(limit(refused), one + with_more);
    bench.put("two".into(), config(&[])).await.unwrap();
    for stream in &more {
        bench.ask(add(id(), stream)).await.unwrap();
    }
    let refused = bench.put("big".into(), config(&[])).await;
    assert_eq!(limit(refused), 2 * one + with_more);
    let refused = bench.ask(add(id(), "c")).await;
    assert_eq!(limit(refused), one + with_more);
    let refused = bench.ask(add("two".into(), "c")).await;
    assert_eq!(limit(refused), 2 * one + with_more);
    // The refusal names a way to get below the limit.
    let remove = |answer| Command::RemoveStream {
        id: id(),
        stream: name(more[0]),
        answer,
    };
    bench.ask(remove).await.unwrap();
    bench.ask(add("two".into(), "c")).await.unwrap();
    let before = bench.all();
    let mut bench = bench.restart().await;
    assert_eq!(bench.all(), before);
    bench.ask(add("two".into(), "d")).await.unwrap();
    let refused = bench.ask(add("two".into(), "e")).await;
    assert_eq!(limit(refused), 2 * one + with_more);
}

#[tokio::test]
async fn beyond_the_bytes_of_all_cursors_streams_wait_for_their_turn() {
    let mut bench = bounded(Bounds {
        cursors: 40_000,
        ..bounds()
    })
    .await;
    let json = Create::new(Settings::of_type("application/json"));
    bench.log.create(&name("other wakes"), json).await.unwrap();
    for n in 0..4 {
        let other = Config {
            target: Target::WakeStream(name("other wakes")),
            ..config(&[])
        };
        bench.put(format!("{n}").into(), other).await.unwrap();
    }
    bench.put(id(), config(&[])).await.unwrap();
    let streams: Vec<String> = (0..300).map(|n| format!("s/{n:03}")).collect();
    for stream in &streams {
        bench.append(stream).await;
    }
    bench.turn().await;
    for (_, known) in bench.engine.registry.iter() {
        assert!((LINKS_SHARE..200).contains(&known.links.len()));
    }
    let mut told = std::collections::BTreeSet::new();
    for round in 0..30 {
        let Ok(claim) = bench.claim().await else {
            break;
        };
        told.extend(claim.streams.iter().map(|(name, _)| name.to_string()));
        bench
            .ack(&claim, claim.streams.clone(), true)
            .await
            .unwrap();
        if round % 3 == 2 {
            bench = bench.restart().await;
        }
        for _ in 0..4 {
            bench.turn().await;
        }
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), streams);
    assert!(matches!(bench.claim().await, Err(Refusal::NoPendingWork)));
}

#[tokio::test]
async fn subscriptions_to_all_streams_store_only_their_configuration() {
    let mut bench = Bench::new().await;
    let long = "n".repeat(900);
    for n in 0..200 {
        bench.append(&format!("s/{n}/{long}")).await;
    }
    let all = Config {
        pattern: Some(Pattern::new("**").unwrap()),
        ..config(&[])
    };
    for n in 0..100 {
        bench.put(format!("{n}").into(), all.clone()).await.unwrap();
    }
    let journal = name("__ds/journal/0000000000000000");
    assert!(bench.info(&journal).await.bytes < 100 * 1000);
    // A name is written once for all subscriptions, with a cursor for each.
    for n in 0..10 {
        bench.append(&format!("s/{n}/{long}")).await;
    }
    bench.turn().await;
    let bytes = bench.info(&journal).await.bytes;
    assert!(
        bytes < 100 * 1000 + 10 * 1000 + 100 * 10 * 50 + 30_000,
        "{bytes}"
    );
    let before = bench.all();
    let bench = bench.restart().await;
    assert_eq!(bench.all(), before);
}

#[tokio::test]
async fn a_journal_of_the_first_version_is_read_and_shrinks() {
    let mut bench = Bench::new().await;
    for n in 0..50 {
        bench.append(&format!("s/{n}")).await;
    }
    bench.put(id(), config(&[])).await.unwrap();
    let journal = name("__ds/journal/0000000000000000");
    // One link for each stream, by its name: all but one are processed.
    let mut links = Vec::new();
    for n in 0..50 {
        let info = bench.info(&name(&format!("s/{n}"))).await;
        let acked = if n == 7 { Offset::START } else { info.tail };
        links.push(serde_json::json!([
            info.name.as_str(),
            2,
            info.id,
            acked.to_string()
        ]));
    }
    for record in [
        serde_json::json!({ "record": "links", "id": "sub", "links": links }),
        serde_json::json!({ "record": "unlinked", "id": "sub", "streams": ["s/9"] }),
    ] {
        let append = Append::new(vec![record.to_string().into()]);
        bench.log.append(&journal, append).await.unwrap();
    }
    let mut bench = bench.restart().await;
    for _ in 0..4 {
        bench.turn().await;
    }
    let pending: Vec<_> = bench
        .known()
        .links
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(pending, [name("s/7")]);
    let mut bench = bench.restart().await;
    let claim = bench.claim().await.unwrap();
    let tail = bench.info(&name("s/7")).await;
    assert_eq!(claim.streams, [(name("s/7"), tail.at(tail.tail))]);
}

#[tokio::test]
async fn streams_beyond_the_limit_of_cursors_all_cause_wakes() {
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
async fn a_journal_is_compacted_in_parts_and_valid_after_each() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    bench.put("small".into(), config(&["x"])).await.unwrap();
    // This subscription never acknowledges anything, so its links are copied.
    let others = Config {
        pattern: Some(Pattern::new("other/*").unwrap()),
        ..config(&[])
    };
    bench.put("others".into(), others).await.unwrap();
    for n in 0..5000 {
        bench.append(&format!("other/{n}")).await;
    }
    let keys = bench.journal.keys().unwrap();
    let mut copying = 0;
    let mut round = 0;
    while bench.journal.numbers() != [1] {
        round += 1;
        assert!(round < 100, "the journal was never rewritten");
        for n in 0..1000 {
            bench.append(&format!("s/{n}")).await;
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
async fn a_damaged_journal_is_not_mistaken_for_an_empty_one() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    let journal = name("__ds/journal/0000000000000000");
    let chunk = bench
        .log
        .read(&journal, ReadFrom::Start, 1 << 20)
        .await
        .unwrap();
    assert!(!chunk.is_empty());
    bench
        .log
        .append(
            &journal,
            Append::new(vec![r#"{"record":"of another kind"}"#.into()]),
        )
        .await
        .unwrap();
    let mut registry = Registry::default();
    let claimed = Journal::claim(Arc::clone(&bench.log), None).await;
    let loaded = claimed.unwrap().load(&mut registry).await;
    assert!(matches!(loaded, Err(Unreadable::Record(_))));
}
