//! The lease, with a network between hubs and log that delays, loses and cuts, and a clock that the test
//! controls.

mod any_order;
mod network;

use std::{sync::Arc, time::Duration};

use headwater_log::{Log, MemoryLog, Outcome, Refusal, StreamName};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::network::Network;
use super::{
    Lease, Ownership, Place,
    record::{Record, Records},
};
use crate::limits::{OWNER_LEASE, OWNER_MARGIN, OWNER_PAUSE, OWNER_RENEWAL, OWNER_STREAM_BYTES};

/// A hub that competes for the lease.
struct Hub {
    network: Arc<Network>,
    ownership: Ownership,
    /// The terms that it got, and `None` for each end of one.
    leases: Arc<Mutex<Vec<Option<Lease>>>>,
}

impl Hub {
    fn new(log: &Arc<MemoryLog>, name: &str) -> Self {
        Self::over(&Network::new(Arc::clone(log)), name)
    }

    fn over(network: &Arc<Network>, name: &str) -> Self {
        let log: Arc<dyn Log> = Arc::clone(network) as _;
        let ownership = Ownership::new(log, Some(format!("http://{name}")));
        let leases: Arc<Mutex<Vec<Option<Lease>>>> = Arc::default();
        let kept = Arc::clone(&leases);
        ownership.start(move |lease| kept.lock().push(lease));
        Self {
            network: Arc::clone(network),
            ownership,
            leases,
        }
    }

    fn is_owner(&self) -> bool {
        self.ownership.place() == Place::Here
    }

    /// Waits until it is the owner. Returns the time that it took.
    async fn begins(&self) -> Duration {
        let start = Instant::now();
        while !self.is_owner() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "it doesn't begin"
            );
            sleep(Duration::from_millis(10)).await;
        }
        start.elapsed()
    }

    /// Returns the terms that it got.
    fn terms(&self) -> Vec<Option<u64>> {
        let leases = self.leases.lock();
        leases
            .iter()
            .map(|lease| lease.as_ref().map(Lease::term))
            .collect()
    }
}

fn log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::default())
}

#[tokio::test(start_paused = true)]
async fn the_first_hub_is_the_owner_at_once_and_the_others_know_its_url() {
    let log = log();
    let one = Hub::new(&log, "one");
    assert!(one.begins().await < Duration::from_secs(1));
    let two = Hub::new(&log, "two");
    sleep(Duration::from_secs(120)).await;
    assert!(one.is_owner());
    assert_eq!(one.terms(), [Some(1)]);
    let (term, url) = (1, "http://one".into());
    assert_eq!(two.ownership.place(), Place::There { term, url });
    assert!(two.ownership.is_elsewhere() && two.terms().is_empty());
    let name: StreamName = "__ds/owner".parse().unwrap();
    let info = log.info(&name).await.unwrap();
    assert!(info.tail.number() > 30, "it was renewed");
    assert_eq!(info.settings.max_bytes, Some(OWNER_STREAM_BYTES));
}

#[tokio::test(start_paused = true)]
async fn another_hub_takes_over_when_the_lease_of_one_that_died_has_ended() {
    let log = log();
    let one = Hub::new(&log, "one");
    one.begins().await;
    let two = Hub::new(&log, "two");
    sleep(Duration::from_secs(20)).await;
    let lease = one.leases.lock()[0].clone().unwrap();
    drop(one);
    let took = two.begins().await;
    assert!(!lease.is_valid());
    let least = OWNER_LEASE + OWNER_MARGIN - OWNER_RENEWAL - OWNER_PAUSE;
    let most = OWNER_LEASE + OWNER_MARGIN + OWNER_PAUSE;
    assert!(least <= took && took <= most, "{took:?}");
    assert_eq!(two.terms(), [Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn another_hub_takes_over_at_once_after_a_release() {
    let log = log();
    let hubs = ["one", "two", "three"].map(|name| Hub::new(&log, name));
    sleep(Duration::from_secs(5)).await;
    let first = hubs.iter().position(Hub::is_owner).unwrap();
    hubs[first].ownership.release().await;
    assert!(!hubs[first].is_owner());
    let start = Instant::now();
    while !hubs.iter().any(Hub::is_owner) {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(hubs.iter().filter(|hub| hub.is_owner()).count(), 1);
    assert!(!hubs[first].is_owner(), "it doesn't compete any more");
    let place = hubs[first].ownership.place();
    assert!(matches!(place, Place::There { term: 2, .. }), "{place:?}");
    assert_eq!(hubs[first].terms(), [Some(1), None]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_cut_off_stops_before_another_one_begins() {
    let log = log();
    let one = Hub::new(&log, "one");
    one.begins().await;
    let two = Hub::new(&log, "two");
    sleep(Duration::from_secs(30)).await;
    one.network.cut(true);
    let start = Instant::now();
    while one.is_owner() {
        assert!(!two.is_owner());
        sleep(Duration::from_millis(1)).await;
    }
    let stopped = start.elapsed();
    assert!(stopped <= OWNER_LEASE);
    // It doesn't know that it has lost the lease, and runs what it may run without.
    assert!(!one.ownership.is_elsewhere());
    assert_eq!(one.ownership.place(), Place::Nowhere);
    assert!(two.begins().await >= OWNER_MARGIN - Duration::from_millis(10));
    assert_eq!(one.terms(), [Some(1)]);
    one.network.cut(false);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(one.terms(), [Some(1), None]);
    assert!(one.ownership.is_elsewhere() && two.is_owner());
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_lapsed_continues_in_its_term_if_no_other_has_begun() {
    let log = log();
    let one = Hub::new(&log, "one");
    one.begins().await;
    sleep(Duration::from_secs(30)).await;
    one.network.cut(true);
    sleep(Duration::from_secs(300)).await;
    assert!(!one.is_owner());
    assert!(!one.leases.lock()[0].as_ref().unwrap().is_valid());
    one.network.cut(false);
    assert!(one.begins().await < Duration::from_secs(5));
    assert_eq!(one.terms(), [Some(1)], "nothing is started again");
    assert!(one.leases.lock()[0].as_ref().unwrap().is_valid());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_term_is_noticed_by_those_that_wait_for_it() {
    let log = log();
    let one = Hub::new(&log, "one");
    one.begins().await;
    let two = Hub::new(&log, "two");
    sleep(Duration::from_secs(1)).await;
    let mut over = std::pin::pin!(two.ownership.over(1));
    let early = tokio::time::timeout(Duration::from_secs(60), &mut over).await;
    assert!(early.is_err());
    drop(one);
    let late = tokio::time::timeout(Duration::from_secs(60), over).await;
    assert!(late.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_counts_as_one_of_a_silent_owner() {
    use headwater_log::{Append, Create, Settings};
    let log = log();
    let name: StreamName = "__ds/owner".parse().unwrap();
    let json = Create::new(Settings::of_type("application/json"));
    log.create(&name, json).await.unwrap();
    let other = Append::new(vec!["of a later version".into()]).by("__ds/owner", 7, 0);
    log.append(&name, other).await.unwrap();
    let one = Hub::new(&log, "one");
    assert!(one.begins().await >= OWNER_LEASE);
    assert_eq!(one.terms(), [Some(8)]);
}

#[tokio::test]
async fn of_several_candidates_one_succeeds_and_none_after_a_renewal_that_it_has_not_read() {
    let log = log();
    let records = Records::new(&*log).unwrap();
    records.follow().await.unwrap();
    let record = |hub: &str, term| Record {
        hub: hub.to_owned(),
        term,
        url: None,
        released: false,
    };
    let one = record("one", 1);
    let began = records.begin(&one, None).await.unwrap();
    assert!(matches!(began, Outcome::Appended(_)));
    let known = records.read().await.unwrap().known;
    let renewed = records.append(&one, 1).await.unwrap();
    assert!(matches!(renewed, Outcome::Appended(_)));
    let late = records.begin(&record("two", 2), known).await.unwrap();
    assert!(
        matches!(late, Outcome::Refused(Refusal::Diverged { .. })),
        "{late:?}"
    );
    let known = records.read().await.unwrap().known;
    let began = records.begin(&record("two", 2), known).await.unwrap();
    assert!(matches!(began, Outcome::Appended(_)));
    let second = records.begin(&record("three", 2), known).await.unwrap();
    assert!(matches!(second, Outcome::Refused(_)), "{second:?}");
    let late = records.append(&one, 2).await.unwrap();
    assert_eq!(late, Outcome::Refused(Refusal::StaleEpoch { current: 2 }));
    assert_eq!(records.read().await.unwrap().record, Some(record("two", 2)));
}
