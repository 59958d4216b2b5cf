//! Measures appends to a cluster beside plain publishes of the same bytes: `append nats://a,b,c`.
//!
//! Both keep 4096 in flight: 64 streams with 64 appends each, and one message for each publish.

// A failed measurement panics.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use headwater_log::{Append, Create, Log, Settings, StreamName};
use headwater_nats::{Durability, NatsLog, NatsOptions};
use tokio::time::{Instant, sleep};

const TIME: Duration = Duration::from_secs(5);
const STREAMS: usize = 64;
const IN_FLIGHT: usize = 64;
const MESSAGE: [u8; 100] = [b'm'; 100];

/// Runs tasks for some seconds, and prints their rate.
async fn measure<W: Future<Output = ()> + Send + 'static>(
    what: &str,
    tasks: usize,
    work: impl Fn(usize) -> W + Clone + Send + 'static,
) {
    let count = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (count, work) = (Arc::clone(&count), work.clone());
            tokio::spawn(async move {
                loop {
                    work(task).await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    sleep(TIME).await;
    let rate = count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    running.iter().for_each(|task| task.abort());
    println!("{what}: {rate:.0}/s");
    sleep(Duration::from_secs(1)).await;
}

#[tokio::main]
async fn main() {
    let servers = std::env::args().nth(1).expect("the servers: nats://a,b,c");
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    let client = async_nats::connect(servers.clone()).await.unwrap();
    let context = jetstream::new(client);
    let config = stream::Config {
        name: "plain".to_owned(),
        num_replicas: servers.len(),
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
    for tasks in [64, STREAMS * IN_FLIGHT] {
        let context = context.clone();
        let what = format!("plain publishes, {tasks} in flight");
        measure(&what, tasks, move |_| {
            let context = context.clone();
            async move {
                let sent = context.publish("plain", MESSAGE.to_vec().into()).await;
                if let Ok(sent) = sent {
                    let _ = sent.await;
                }
            }
        })
        .await;
    }

    let mut options = NatsOptions::new(servers.clone());
    options.durability = Durability::Memory;
    options.replicas = servers.len();
    let log = Arc::new(NatsLog::open(options).await.unwrap());
    let name = |stream: usize| StreamName::new(&format!("bench/{stream}")).unwrap();
    for stream in 0..STREAMS {
        let create = Create::new(Settings::of_type("text/plain"));
        log.create(&name(stream), create).await.unwrap();
    }
    for (what, tasks, batch) in [
        ("appends, 1 × 16", 16, 1),
        ("appends, 64 × 64", STREAMS * IN_FLIGHT, 1),
        ("appends of 100 messages, 16 in flight", 16, 100),
    ] {
        let log = Arc::clone(&log);
        measure(what, tasks, move |task| {
            let log = Arc::clone(&log);
            let stream = name(task % STREAMS);
            async move {
                let messages = vec![MESSAGE.to_vec().into(); batch];
                log.append(&stream, Append::new(messages)).await.unwrap();
            }
        })
        .await;
    }
}
