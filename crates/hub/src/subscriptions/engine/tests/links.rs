//! The streams of a subscription, and the offsets at which they start.

use super::*;

#[tokio::test]
async fn existing_streams_are_linked_at_their_tail_and_new_ones_at_their_start() {
    let mut bench = Bench::new().await;
    bench.append("s/old").await;
    bench.append("other").await;
    bench.put(id(), config(&["named"])).await.unwrap();
    assert!(matches!(bench.claim().await, Err(Refusal::NoPendingWork)));
    bench.append("s/new").await;
    bench.append("other").await;
    bench.turn().await;
    assert_eq!(bench.link("s/old"), None, "all of it is processed");
    let old = bench.info(&name("s/old")).await;
    let new = bench.info(&name("s/new")).await;
    assert_eq!(
        bench.shown(1000).await,
        [
            (name("named"), "-1".to_owned()),
            (name("s/new"), new.at(Offset::START).to_string()),
            (name("s/old"), old.at(old.tail).to_string()),
        ]
    );
    let link = bench.link("s/new").unwrap();
    assert_eq!((link.acked, link.tail.number()), (Offset::START, 1));
    assert_eq!(bench.link("other"), None);
    bench.append("named").await;
    bench.turn().await;
    assert!(bench.link("named").unwrap().is_pending());
    assert_eq!(bench.wakes().await, 1, "one wake for all of it");
}

#[tokio::test]
async fn a_wake_stream_that_matches_its_own_pattern_causes_no_wake() {
    let mut bench = Bench::new().await;
    let all = Config {
        pattern: Some(Pattern::new("**").unwrap()),
        ..config(&[])
    };
    bench.put(id(), all).await.unwrap();
    bench.append("s/a").await;
    bench.turn().await;
    let claim = bench.claim().await.unwrap();
    let info = bench.info(&name("s/a")).await;
    assert_eq!(claim.streams, [(name("s/a"), info.at(Offset::new(1)))]);
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
async fn a_name_that_no_stream_can_have_is_refused() {
    let mut bench = Bench::new().await;
    let refused = bench.put(id(), config(&["a", "s/*"])).await;
    assert!(
        matches!(&refused, Err(Refusal::Invalid(why)) if why.contains("wildcard")),
        "{refused:?}"
    );
    // A stream of an earlier version.
    let json = Create::new(Settings::of_type("application/json"));
    bench.log.create(&name("s/*"), json).await.unwrap();
    bench.put(id(), config(&["a", "s/*"])).await.unwrap();
}

#[tokio::test]
async fn a_wake_stream_is_none_of_the_streams_that_it_is_for() {
    let mut bench = Bench::new().await;
    let refused = bench.put(id(), config(&["a", "wakes"])).await;
    assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    bench.put(id(), config(&["a"])).await.unwrap();
    let add = |answer| Command::AddStreams {
        id: id(),
        streams: vec![name("wakes")],
        answer,
    };
    assert!(matches!(bench.ask(add).await, Err(Refusal::Invalid(_))));
}

#[tokio::test]
async fn a_stream_that_is_created_again_is_pending_from_its_start() {
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
async fn a_deleted_stream_is_in_no_wake() {
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
async fn a_stream_that_is_processed_keeps_no_cursor_and_can_be_acknowledged_again() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    for stream in ["s/a", "s/b"] {
        bench.append(stream).await;
    }
    let claim = bench.claim().await.unwrap();
    bench
        .ack(&claim, claim.streams.clone(), false)
        .await
        .unwrap();
    for _ in 0..3 {
        bench.turn().await;
    }
    assert_eq!(bench.link("s/a"), None);
    let beyond = bench.info(&name("s/a")).await.at(Offset::new(2));
    assert!(matches!(
        bench.ack(&claim, vec![(name("s/a"), beyond)], false).await,
        Err(Refusal::InvalidOffset(_))
    ));
    assert!(matches!(
        bench
            .ack(&claim, vec![(name("other"), beyond)], false)
            .await,
        Err(Refusal::Invalid(_))
    ));
    // Later messages don't count as processed.
    bench.append("s/b").await;
    bench
        .ack(&claim, claim.streams.clone(), false)
        .await
        .unwrap();
    let link = bench.link("s/b").unwrap();
    assert_eq!((link.acked, link.tail), (Offset::new(1), Offset::new(2)));
    let mut bench = bench.restart().await;
    assert!(
        bench
            .ack(&claim, claim.streams.clone(), true)
            .await
            .unwrap()
    );
    let again = bench.claim().await.unwrap();
    assert_eq!(
        again.streams,
        [(
            name("s/b"),
            bench.info(&name("s/b")).await.at(Offset::new(2))
        )]
    );
}

#[tokio::test]
async fn pages_of_a_subscription_contain_each_stream_once() {
    let mut bench = Bench::new().await;
    for n in 0..30 {
        bench.append(&format!("s/{n}")).await;
        bench.append(&format!("other/{n}")).await;
    }
    let named = ["a", "other/3", "s/7", "z"];
    bench.put(id(), config(&named)).await.unwrap();
    bench.append("s/8").await;
    let all = bench.shown(1000).await;
    assert_eq!(all.len(), 33);
    for limit in [1, 2, 7, 32, 33] {
        assert_eq!(bench.shown(limit).await, all, "{limit}");
    }
}

#[tokio::test]
async fn a_stream_by_name_that_matches_the_pattern_stays_when_its_name_is_removed() {
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
    assert_eq!(bench.link("named"), None);
    bench.append("named").await;
    bench.turn().await;
    assert_eq!(bench.wakes().await, 0);
    bench.append("s/a").await;
    bench.turn().await;
    assert_eq!(bench.wakes().await, 1);
}
