//! Claims and the duration of leases.

use super::*;

#[tokio::test]
async fn a_lease_ends_without_acknowledgements_and_is_renewed_by_them() {
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
async fn a_claim_covers_appends_that_were_made_after_its_turn_began() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    // As the second command of a turn, which has read the log already.
    bench.append("s/a").await;
    let (answer, answered) = oneshot::channel();
    let claim = Command::Claim {
        id: id(),
        worker: "w".to_owned(),
        answer,
    };
    bench.engine.command(claim, &mut bench.journal).await;
    bench.engine.store(&mut bench.journal).await;
    assert!(answered.await.unwrap().is_ok());
}

#[tokio::test]
async fn an_acknowledgement_past_the_tail_changes_nothing() {
    let mut bench = Bench::new().await;
    bench.put(id(), config(&[])).await.unwrap();
    bench.append("s/a").await;
    bench.append("s/b").await;
    let claim = bench.claim().await.unwrap();
    let a = bench.info(&name("s/a")).await;
    let b = bench.info(&name("s/b")).await;
    let good = (name("s/a"), a.at(Offset::new(1)));
    // A mark of another stream is refused even if this stream has that offset.
    let other = vec![good.clone(), (name("s/b"), good.1)];
    let refused = bench.ack(&claim, other, true).await;
    assert!(matches!(refused, Err(Refusal::InvalidOffset(_))));
    let beyond = vec![good.clone(), (name("s/b"), b.at(Offset::new(2)))];
    let refused = bench.ack(&claim, beyond, true).await;
    assert!(matches!(refused, Err(Refusal::InvalidOffset(_))));
    let unknown = vec![good.clone(), (name("other"), a.at(Offset::START))];
    assert!(matches!(
        bench.ack(&claim, unknown, true).await,
        Err(Refusal::Invalid(_))
    ));
    assert!(bench.link("s/a").unwrap().is_pending());
    // An append that the engine has not read yet is no reason to refuse.
    bench.append("s/a").await;
    let ahead = vec![(name("s/a"), a.at(Offset::new(2)))];
    assert!(
        bench.ack(&claim, ahead, true).await.unwrap(),
        "b is pending"
    );
    assert!(!bench.link("s/a").unwrap().is_pending());
}

#[tokio::test]
async fn a_deleted_subscription_refuses_acknowledgements_of_its_wake() {
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
    // Nor is it accepted by a new subscription of the same name.
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
async fn a_deleted_wake_stream_is_retried() {
    let mut bench = Bench::new().await;
    let later = Config {
        target: Target::WakeStream(name("later")),
        ..config(&[])
    };
    let json = || Create::new(Settings::of_type("application/json; charset=utf-8"));
    bench.log.create(&name("later"), json()).await.unwrap();
    bench.put(id(), later.clone()).await.unwrap();
    bench.log.delete(&name("later")).await.unwrap();
    // Confirming the subscription doesn't need its wake stream.
    assert!(!bench.put(id(), later).await.unwrap());
    bench.append("s/a").await;
    bench.turn().await;
    assert!(bench.known().retry_at.is_some());
    bench.log.create(&name("later"), json()).await.unwrap();
    bench.clock.advance(Duration::from_millis(1300));
    // A failure is only known after the store, and so is the retry.
    bench.turn().await;
    let events = bench
        .log
        .read(&name("later"), ReadFrom::Start, 1 << 20)
        .await
        .unwrap();
    let events: Vec<_> = events.messages().collect();
    assert_eq!(events.len(), 1);
    let event: serde_json::Value = serde_json::from_slice(&events[0].bytes).unwrap();
    assert_eq!(event["type"], "wake");
    assert_eq!(
        (&event["subscription_id"], &event["stream"]),
        (&"sub".into(), &"s/a".into())
    );
    assert_eq!(event["generation"], 2);
}

#[tokio::test]
async fn an_unclaimed_wake_event_is_written_again_after_a_crash() {
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
async fn a_jump_of_the_clock_neither_ends_nor_prolongs_a_lease() {
    const HOURS: u64 = 5 * 3_600_000;
    for is_ahead in [true, false] {
        let mut bench = Bench::new().await;
        bench.clock.set(Timestamp(2 * HOURS));
        bench = bench.restart().await;
        bench.put(id(), config(&[])).await.unwrap();
        bench.append("s/a").await;
        let claim = bench.claim().await.unwrap();
        bench
            .clock
            .set(Timestamp(if is_ahead { 3 * HOURS } else { HOURS }));
        let second = bench.claim().await;
        assert!(matches!(second, Err(Refusal::AlreadyClaimed { .. })));
        bench.clock.advance(LEASE);
        let second = bench.claim().await.unwrap();
        assert_eq!(second.generation, claim.generation + 1);
    }
}

#[tokio::test]
async fn a_lease_of_a_clock_that_was_ahead_ends_after_a_restart() {
    let bench = Bench::new().await;
    let right = bench.clock.now();
    bench
        .clock
        .set(right.after(Duration::from_secs(10 * 24 * 3600)));
    let mut bench = bench.restart().await;
    bench.put(id(), config(&[])).await.unwrap();
    bench.append("s/a").await;
    let claim = bench.claim().await.unwrap();
    bench.clock.set(right);
    let mut bench = bench.restart().await;
    let second = bench.claim().await;
    assert!(matches!(second, Err(Refusal::AlreadyClaimed { .. })));
    bench.clock.advance(LEASE);
    let second = bench.claim().await.unwrap();
    assert_eq!(second.generation, claim.generation + 1);
}
