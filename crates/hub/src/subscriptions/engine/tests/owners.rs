//! Hubs that share a log, of which one after the other runs the subscriptions.

use headwater_log::{Outcome, Refusal as LogRefusal};

use super::*;

const PRODUCER: &str = "__ds/journal";

/// Returns a lease that is valid for so long.
fn lease(term: u64, time: Duration) -> Option<Lease> {
    Some(Lease::for_test(term, Instant::now() + time))
}

impl Bench {
    /// Starts the first owner of a log.
    async fn first_owner() -> Self {
        let bench = Self::new().await;
        Self::owner(&bench, 1).await
    }

    /// Starts the engine of another hub, which has become the owner of the log.
    async fn owner(before: &Self, term: u64) -> Self {
        let lease = lease(term, Duration::from_secs(3600));
        let (log, clock) = (Arc::clone(&before.log), before.clock.clone());
        Self::leased(log, None, clock, Bounds::default(), lease).await
    }
}

fn journal(number: u64) -> StreamName {
    name(&format!("__ds/journal/{number:016}"))
}

/// Returns the number of streams that the journal has.
async fn streams(log: &dyn Log) -> usize {
    let page = log.list("__ds/journal/", None, 1000).await.unwrap();
    page.streams.len()
}

#[tokio::test]
async fn an_owner_continues_where_the_one_before_stopped() {
    let mut one = Bench::first_owner().await;
    one.put(id(), config(&["n"])).await.unwrap();
    one.append("s/a").await;
    one.append("n").await;
    let claim = one.claim().await.unwrap();
    one.ack(&claim, claim.streams.clone(), false).await.unwrap();
    one.append("s/b").await;
    one.turn().await;
    let mut two = Bench::owner(&one, 2).await;
    assert_eq!(two.all(), one.all());
    // The token of the earlier owner is valid: both have the same key.
    assert!(two.ack(&claim, Vec::new(), true).await.is_ok());
}

#[tokio::test]
async fn writes_of_an_earlier_owner_are_refused() {
    let mut one = Bench::first_owner().await;
    one.put(id(), config(&[])).await.unwrap();
    let mut two = Bench::owner(&one, 2).await;
    let late = one.put("late".into(), config(&[])).await;
    assert!(matches!(late, Err(Refusal::Unavailable)), "{late:?}");
    two.put("two".into(), config(&[])).await.unwrap();
    let removed = one.ask(|answer| Command::Remove { id: id(), answer }).await;
    assert!(matches!(removed, Err(Refusal::Unavailable)), "{removed:?}");
    let three = Bench::owner(&two, 3).await;
    let ids: Vec<Arc<str>> = three.all().into_keys().collect();
    assert_eq!(ids, [id(), "two".into()]);
}

#[tokio::test]
async fn what_an_earlier_owner_wrote_to_the_next_stream_in_time_counts_and_later_nothing() {
    let mut one = Bench::first_owner().await;
    one.put(id(), config(&[])).await.unwrap();
    let next = one.journal.numbers().last().unwrap() + 1;
    // As in a compaction, which has acknowledged one change.
    let json = Create::new(Settings::of_type("application/json"));
    one.log.create(&journal(next), json).await.unwrap();
    let record = r#"{"record":"deleted","id":"sub"}"#;
    let append = |seq| Append::new(vec![record.into()]).by(PRODUCER, 1, seq);
    let outcome = one.log.append(&journal(next), append(0)).await.unwrap();
    assert!(matches!(outcome, Outcome::Appended(_)));
    let mut two = Bench::owner(&one, 2).await;
    assert!(two.all().is_empty());
    let own = *two.journal.numbers().last().unwrap();
    assert_eq!(own, next + 1);
    for (number, seq) in [(next, 1), (own, 0), (own, 1)] {
        let outcome = one.log.append(&journal(number), append(seq)).await.unwrap();
        let stale = LogRefusal::StaleEpoch { current: 2 };
        assert_eq!(outcome, Outcome::Refused(stale), "{number} {seq}");
    }
    two.put(id(), config(&[])).await.unwrap();
    assert_eq!(Bench::owner(&two, 3).await.all().len(), 1);
}

#[tokio::test]
async fn a_hub_that_was_fenced_does_not_open_the_journal() {
    let one = Bench::first_owner().await;
    let two = Bench::owner(&one, 2).await;
    let (_, commands) = mpsc::channel(1);
    let options = SubscriptionOptions::default();
    let late = lease(1, Duration::from_secs(3600));
    let mut engine = Engine::new(Arc::clone(&two.log), options, commands, late);
    assert!(engine.open().await.is_none());
}

#[tokio::test]
async fn changes_of_the_owner_leave_one_stream() {
    let mut bench = Bench::first_owner().await;
    for n in 0..300 {
        bench.put(format!("{n}").into(), config(&[])).await.unwrap();
    }
    for term in 2..12 {
        let all = bench.all();
        bench = Bench::owner(&bench, term).await;
        assert_eq!(bench.all(), all);
        bench.turn().await;
        assert_eq!(bench.journal.numbers().len(), 1);
        assert_eq!(streams(&*bench.log).await, 1);
    }
}

#[tokio::test]
async fn an_append_of_unknown_outcome_is_followed_by_the_next_one() {
    let mut one = Bench::first_owner().await;
    one.put(id(), config(&[])).await.unwrap();
    let own = *one.journal.numbers().last().unwrap();
    let known = one.log.producer(&journal(own), PRODUCER).await.unwrap();
    // As if an append had failed and arrived all the same.
    let record = format!(r#"{{"record":"seen","position":"{}"}}"#, Position::START);
    let seq = known.unwrap().seq + 1;
    let arrived = Append::new(vec![record.into()]).by(PRODUCER, 1, seq);
    let outcome = one.log.append(&journal(own), arrived).await.unwrap();
    assert!(matches!(outcome, Outcome::Appended(_)));
    one.put("next".into(), config(&[])).await.unwrap();
    assert_eq!(Bench::owner(&one, 2).await.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn wakes_are_sent_only_while_the_lease_is_valid() {
    let bench = Bench::new().await;
    let (log, clock) = (Arc::clone(&bench.log), bench.clock.clone());
    let lease = lease(1, Duration::from_secs(5));
    let mut one = Bench::leased(log, None, clock, Bounds::default(), lease).await;
    one.put(id(), config(&[])).await.unwrap();
    one.put("later".into(), config(&["n"])).await.unwrap();
    one.append("s/a").await;
    one.turn().await;
    assert_eq!(one.wakes().await, 2, "one for each subscription");
    sleep(Duration::from_secs(5)).await;
    let claim = one.claim().await.unwrap();
    one.ack(&claim, claim.streams.clone(), true).await.unwrap();
    one.append("s/b").await;
    one.turn().await;
    assert_eq!(one.wakes().await, 2);
    // The next owner sends it.
    let mut two = Bench::owner(&one, 2).await;
    two.turn().await;
    assert!(two.wakes().await > 2);
}
