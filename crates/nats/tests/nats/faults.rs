//! Servers and hubs are killed while producers and readers check every message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log::{Append, Log, Offset, Outcome, Position, ReadFrom, StreamName};
use headwater_nats::{NatsLog, NatsOptions};
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::servers::Servers;
use crate::support::{fresh, name, open_log, outside, plain, runtime, texts};

/// Messages of each producer in a round.
const MESSAGES: u64 = 60;
const PRODUCERS: u64 = 4;
/// The time that a round has after its faults.
pub(crate) const ROUND: Duration = Duration::from_secs(120);

pub(crate) fn rounds(default: usize) -> usize {
    let rounds = std::env::var("HEADWATER_NATS_ROUNDS").ok();
    rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(default)
}

pub(crate) fn stream() -> StreamName {
    name("faults")
}

/// Appends numbered messages, each until it is known to be stored.
async fn produce(hubs: Vec<Arc<NatsLog>>, producer: u64, pause: Duration) {
    for seq in 0..MESSAGES {
        let text = format!("{producer} {seq}");
        let append = Append::new(vec![text.into()]).by(&format!("p{producer}"), 0, seq);
        for attempt in seq.. {
            let hub = &hubs[usize::try_from(attempt).unwrap() % hubs.len()];
            match hub.append(&stream(), append.clone()).await {
                Ok(Outcome::Appended(_) | Outcome::Duplicate(_)) => break,
                Ok(refused) => panic!("{producer} {seq}: {refused:?}"),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        sleep(pause).await;
    }
}

/// Follows the stream on one hub and returns what it has read.
async fn consume(hub: Arc<NatsLog>, wanted: u64) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = Offset::START;
    while next.number() < wanted {
        let Ok(mut follower) = hub.follow(&stream()).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        while next.number() < wanted {
            follower.past(next).await;
            let Ok(chunk) = hub.read(&stream(), ReadFrom::At(next), 1000).await else {
                break;
            };
            assert_eq!(chunk.from, next);
            found.extend(texts(&chunk));
            next = chunk.next;
        }
    }
    found
}

/// Checks that every message is there once, in its producer's order, for every hub and reader.
fn check(hubs: &[Arc<NatsLog>], read: &[Vec<String>]) {
    let all: Vec<_> = hubs
        .iter()
        .map(|hub| {
            outside(async {
                let order = hub
                    .read_order(Position::START, usize::MAX, None)
                    .await
                    .unwrap();
                let entries = order.entries.iter();
                let entries = entries.filter(|entry| entry.stream == stream());
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                entries
                    .map(|entry| text(&entry.message.bytes))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for found in all.iter().chain(read) {
        assert_eq!(*found, all[0]);
    }
    let mut by_producer: BTreeMap<u64, u64> = BTreeMap::new();
    for text in &all[0] {
        let (producer, seq) = text.split_once(' ').unwrap();
        let next = by_producer.entry(producer.parse().unwrap()).or_default();
        assert_eq!(seq.parse::<u64>().unwrap(), *next, "of {producer}");
        *next += 1;
    }
    assert_eq!(by_producer.len() as u64, PRODUCERS);
    assert!(by_producer.values().all(|count| *count == MESSAGES));
}

pub(crate) struct Round {
    hubs: Vec<Arc<NatsLog>>,
    producers: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<Vec<String>>>,
}

impl Round {
    fn start(options: &NatsOptions, pause: Duration) -> Self {
        Self::on((0..2).map(|_| Arc::new(open_log(options))).collect(), pause)
    }

    /// Starts producers that pause after each message, and a reader on each hub.
    pub(crate) fn on(hubs: Vec<Arc<NatsLog>>, pause: Duration) -> Self {
        outside(async {
            while hubs[0].create(&stream(), plain()).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        let producers = (0..PRODUCERS)
            .map(|producer| runtime().spawn(produce(hubs.clone(), producer, pause)))
            .collect();
        let readers = hubs
            .iter()
            .map(|hub| runtime().spawn(consume(Arc::clone(hub), PRODUCERS * MESSAGES)));
        Self {
            readers: readers.collect(),
            producers,
            hubs,
        }
    }

    /// Waits for all messages, and checks them.
    pub(crate) fn finish(self) {
        let read = outside(async {
            timeout(ROUND, async {
                for producer in self.producers {
                    producer.await.unwrap();
                }
                let mut read = Vec::new();
                for reader in self.readers {
                    read.push(reader.await.unwrap());
                }
                read
            })
            .await
            .expect("producers and readers finish")
        });
        check(&self.hubs, &read);
    }
}

pub(crate) fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn nothing_is_lost_or_doubled_when_servers_are_killed() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    for round in 0..rounds(2) {
        let options = fresh(&servers);
        let running = Round::start(&options, Duration::from_millis(20));
        pause(300);
        let victim = match round % 2 {
            0 => outside(servers.leader(&options.prefix)),
            _ => round % 3,
        };
        servers.all[victim].kill();
        pause(1500);
        servers.restart(victim);
        running.finish();
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_all_servers_are_killed_at_once() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    for _ in 0..rounds(1) {
        let options = fresh(&servers);
        let running = Round::start(&options, Duration::from_millis(20));
        pause(400);
        servers.all.iter_mut().for_each(|server| server.kill());
        pause(500);
        (0..3).for_each(|index| servers.restart(index));
        running.finish();
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_a_server_is_stopped_for_a_while() {
    let Some(servers) = Servers::three() else {
        return;
    };
    for _ in 0..rounds(1) {
        let options = fresh(&servers);
        let running = Round::start(&options, Duration::from_millis(20));
        pause(300);
        let leader = outside(servers.leader(&options.prefix));
        servers.all[leader].signal(Signal::STOP);
        pause(6000);
        servers.all[leader].signal(Signal::CONT);
        running.finish();
    }
}

#[test]
fn appends_resume_soon_after_the_leader_is_killed() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    let options = fresh(&servers);
    let log = open_log(&options);
    let append = |text: &str| {
        let append = Append::new(vec![text.to_owned().into()]);
        outside(log.append(&stream(), append))
    };
    outside(log.create(&stream(), plain())).unwrap();
    append("before").unwrap();
    let leader = outside(servers.leader(&options.prefix));
    servers.all[leader].kill();
    let start = Instant::now();
    append("after").unwrap();
    println!("appends resumed after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(15));
    servers.restart(leader);
}

/// A hub is dropped in the middle of appends. Its last batch is either there or not, and a
/// producer finds out by repeating it at another hub.
#[test]
fn an_append_of_a_hub_that_dies_can_be_repeated_at_another() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let options = fresh(&servers);
    let other = open_log(&options);
    outside(other.create(&stream(), plain())).unwrap();
    let mut stored = 0;
    for round in 0..20_u64 {
        let hub = open_log(&options);
        let text = format!("{round}");
        let append = Append::new(vec![text.into()]).by("p", 0, round);
        let sent = append.clone();
        outside(async {
            let stream = stream();
            let work = hub.append(&stream, sent);
            // Long enough for some of the appends.
            let _ = timeout(Duration::from_micros(round * 100), work).await;
        });
        drop(hub);
        let outcome = outside(other.append(&stream(), append)).unwrap();
        stored += usize::from(matches!(outcome, Outcome::Duplicate(_)));
        let chunk = outside(other.read(&stream(), ReadFrom::Start, usize::MAX)).unwrap();
        let expected: Vec<_> = (0..=round).map(|n| n.to_string()).collect();
        assert_eq!(texts(&chunk), expected);
    }
    println!("{stored} of 20 appends were stored by the hub that died");
}
