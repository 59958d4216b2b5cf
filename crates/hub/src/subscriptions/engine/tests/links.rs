//! Which streams a subscription has, and from where on.

use super::*;

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
