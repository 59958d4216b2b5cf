//! Servers are killed, and hubs end in the middle of snapshots, while producers append.

use std::sync::Arc;
use std::time::Duration;

use headwater_log::{Append, Follower, Log, Offset, Outcome, ReadFrom, StreamName};
use headwater_nats::{NatsLog, NatsOptions};
use tokio::time::{sleep, timeout};

use crate::faults::{ROUND, pause, rounds};
use crate::network::Link;
use crate::servers::Servers;
use crate::snapshots::whole;
use crate::support::{fresh, name, open_log, outside, plain, run, runtime, texts};

const PRODUCERS: u64 = 3;
const MESSAGES: u64 = 150;

fn stream_of(producer: u64) -> StreamName {
    name(&format!("s/{producer}"))
}

/// Creates a stream, on a hub that may not be able to.
async fn created(hub: &NatsLog, stream: &StreamName) {
    while hub.create(stream, plain()).await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Appends numbered messages, each until it is known to be stored, and garbage besides.
async fn produce(hubs: Vec<Arc<NatsLog>>, producer: u64) {
    created(&hubs[0], &stream_of(producer)).await;
    for seq in 0..MESSAGES {
        let text = format!("{producer} {seq}");
        let append = Append::new(vec![text.into()]).by("p", 0, seq);
        for attempt in seq.. {
            let hub = &hubs[usize::try_from(attempt).unwrap() % hubs.len()];
            match hub.append(&stream_of(producer), append.clone()).await {
                Ok(Outcome::Appended(_) | Outcome::Duplicate(_)) => break,
                Ok(refused) => panic!("{producer} {seq}: {refused:?}"),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        let garbage = name(&format!("garbage/{producer}/{seq}"));
        let hub = &hubs[usize::try_from(seq).unwrap() % hubs.len()];
        if hub.create(&garbage, plain()).await.is_ok() {
            let append = Append::new(vec![vec![b'x'; 1000].into()]);
            let _ = hub.append(&garbage, append).await;
            let _ = hub.delete(&garbage).await;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Opens hubs that store a snapshot at once, and drops them on the way.
async fn drop_writers(options: NatsOptions) {
    for round in 0_u64.. {
        if let Ok(hub) = NatsLog::open(options.clone()).await {
            let length = Duration::from_millis(round * 17 % 100);
            let _ = timeout(length, hub.snapshot()).await;
        }
        // The hubs that stay store some meanwhile.
        sleep(Duration::from_millis(1000)).await;
    }
}

/// Returns options with which a snapshot is stored and records are removed all the time.
fn restless(servers: &Servers) -> NatsOptions {
    let mut options = fresh(servers);
    options.snapshots.every = Duration::from_millis(50);
    options.snapshots.records = 20;
    options.snapshots.chunk_bytes = 1000;
    options.snapshots.kept = 5;
    options.snapshots.pause = Some(Duration::ZERO);
    options
}

/// Checks that hubs have all messages of the producers.
fn check_all<'a>(hubs: impl IntoIterator<Item = &'a Arc<NatsLog>>) {
    for hub in hubs {
        for producer in 0..PRODUCERS {
            let expected: Vec<_> = (0..MESSAGES)
                .map(|seq| format!("{producer} {seq}"))
                .collect();
            assert_eq!(run(whole(hub, &stream_of(producer))), expected);
        }
    }
}

async fn finished(producers: Vec<tokio::task::JoinHandle<()>>) {
    let produced = timeout(ROUND, async {
        for producer in producers {
            producer.await.unwrap();
        }
    });
    produced.await.expect("producers finish");
}

#[test]
fn a_hub_that_is_cut_off_while_records_are_removed_loses_nothing() {
    let Some(servers) = Servers::one() else {
        return;
    };
    for _ in 0..rounds(1) {
        let options = restless(&servers);
        let (port, door) = servers.door(0);
        let mut behind = options.clone();
        behind.servers = vec![format!("nats://127.0.0.1:{port}")];
        let hubs = [&options, &behind].map(|options| Arc::new(open_log(options)));
        let follower = {
            run(hubs[0].create(&stream_of(0), plain())).unwrap();
            run(hubs[1].follow(&stream_of(0))).unwrap()
        };
        let reader = runtime().spawn(follow(Arc::clone(&hubs[1]), follower));
        // One appends at both, and repeats what it doesn't know; the others go on while that one waits.
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let hubs = if producer == 0 { &hubs[..] } else { &hubs[..1] };
                runtime().spawn(produce(hubs.to_vec(), producer))
            })
            .collect();
        for cut in [Link::Silent, Link::Down] {
            pause(500);
            door.send_replace(cut);
            pause(1500);
            door.send_replace(Link::Up);
        }
        outside(finished(producers));
        let seen = outside(async { timeout(ROUND, reader).await.unwrap().unwrap() });
        let expected: Vec<_> = (0..MESSAGES).map(|seq| format!("0 {seq}")).collect();
        assert_eq!(seen, expected);
        check_all(&hubs);
    }
}

/// Reads all messages of the first producer as they come.
async fn follow(hub: Arc<NatsLog>, mut follower: Follower) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), Offset::START);
    while found.len() < usize::try_from(MESSAGES).unwrap() {
        assert!(!follower.past(next).await.gone);
        match hub.read(&stream_of(0), ReadFrom::At(next), 1000).await {
            Ok(chunk) => {
                found.extend(texts(&chunk));
                next = chunk.next;
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    found
}

#[test]
fn nothing_is_lost_when_servers_and_hubs_end_in_the_middle_of_snapshots() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    for _ in 0..rounds(1) {
        let options = restless(&servers);
        let hubs: Vec<_> = (0..2).map(|_| Arc::new(open_log(&options))).collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| runtime().spawn(produce(hubs.clone(), producer)))
            .collect();
        let dropping = runtime().spawn(drop_writers(options.clone()));
        for victim in [
            options.prefix.clone(),
            format!("{}+snapshots", options.prefix),
        ] {
            pause(1000);
            let leader = outside(servers.leader(&victim));
            servers.all[leader].kill();
            pause(1000);
            servers.restart(leader);
        }
        outside(finished(producers));
        dropping.abort();
        // Whatever has happened, a snapshot can be stored.
        outside(async {
            while let Err(error) = hubs[0].snapshot().await {
                println!("{error}");
                sleep(Duration::from_millis(100)).await;
            }
        });
        let fresh = Arc::new(open_log(&options));
        println!("the last start read {} records", fresh.delivered());
        check_all(hubs.iter().chain([&fresh]));
        let written = outside(async {
            let client = async_nats::connect(servers.urls()).await.unwrap();
            let context = async_nats::jetstream::new(client);
            let stream = context.get_stream(&options.prefix).await.unwrap();
            stream.cached_info().state.clone()
        });
        println!(
            "of {} records, {} are left",
            written.last_sequence, written.messages
        );
        assert!(fresh.delivered() < written.last_sequence / 2);
        assert!(
            written.messages < written.last_sequence * 3 / 4,
            "{written:?}"
        );
    }
}
