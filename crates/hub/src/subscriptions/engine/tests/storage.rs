//! What is stored, and how much of it there may be.

use super::*;

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
