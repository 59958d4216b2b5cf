//! A hub that is killed with SIGKILL repeatedly while producers append and followers read. Every
//! acknowledged message must be in the log, once and in order. Followers must receive every message
//! once and in order, across restarts.
//!
//! `HEADWATER_KILLS` is the number of kills (default: 50). `HEADWATER_SEED` repeats the random
//! choices of a run.

mod many;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use headwater_wire::{Decoder, Event, Format, Limits};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    Outcome,
    child::Server,
    raw,
    served::{soon, within},
};

const KILLS: u32 = 50;
const STREAMS: usize = 3;
/// Number of producers per stream.
const PRODUCERS: usize = 3;
/// Bound on the time from the start of a hub to its kill, in milliseconds. The time is chosen at
/// random below it.
const LIFE_MS: u64 = 250;

/// A message: number `n` of a producer, from 0.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    producer: usize,
    n: u64,
    filler: String,
}

impl Message {
    fn new(producer: usize, n: u64) -> Self {
        // A few messages fill a block of the log, most don't.
        let length = if n % 97 == 96 { 40_000 } else { n * 31 % 500 };
        let filler = ".".repeat(usize::try_from(length).unwrap_or_default());
        Self {
            producer,
            n,
            filler,
        }
    }
}

/// The address of the running hub. It is `None` while no hub runs. The channel closes after the
/// last hub.
type Hub = watch::Receiver<Option<SocketAddr>>;

/// Waits until a hub runs and returns its address. Returns `None` after the last hub.
async fn address(hub: &mut Hub) -> Option<SocketAddr> {
    hub.wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|found| *found)
}

fn path(stream: usize) -> String {
    format!("/streams/killed/{stream}")
}

/// Number of acknowledged messages, by stream and producer.
#[derive(Default)]
struct Acknowledged([[AtomicU64; PRODUCERS]; STREAMS]);

impl Acknowledged {
    fn of(&self, stream: usize) -> [u64; PRODUCERS] {
        std::array::from_fn(|producer| self.0[stream][producer].load(SeqCst))
    }
}

fn http() -> Result<reqwest::Client, String> {
    let http = headwater_client::internals::http().map_err(|error| error.to_string())?;
    http.build().map_err(|error| error.to_string())
}

/// Appends batches until `stop` is `true`. Repeats each batch until it is acknowledged.
async fn produce(
    mut hub: Hub,
    stop: watch::Receiver<bool>,
    stream: usize,
    producer: usize,
    acknowledged: Arc<Acknowledged>,
) -> Result<(), String> {
    let client = http()?;
    let (mut epoch, mut seq, mut n) = (0u64, 0u64, 0u64);
    while !*stop.borrow() {
        let count = 1 + (n + seq) % 3;
        let batch: Vec<_> = (n..n + count).map(|n| Message::new(producer, n)).collect();
        let body = serde_json::to_vec(&batch).map_err(|error| error.to_string())?;
        let mut repeated = false;
        loop {
            let Some(address) = address(&mut hub).await else {
                return Err("the hub is gone".to_owned());
            };
            let request = client
                .post(format!("http://{address}{}", path(stream)))
                .header("content-type", "application/json")
                .header("producer-id", format!("producer {producer}"))
                .header("producer-epoch", epoch)
                .header("producer-seq", seq)
                .timeout(Duration::from_secs(10))
                .body(body.clone());
            match request.send().await {
                // 204: a duplicate. A killed hub appended the batch, and only its acknowledgement
                // was lost.
                Ok(answer) if answer.status() == 200 => break,
                Ok(answer) if answer.status() == 204 && repeated => break,
                Ok(answer) => {
                    let status = answer.status();
                    return Err(format!("{status}: {:?}", answer.text().await));
                }
                Err(_) => {
                    repeated = true;
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
        n += count;
        seq += 1;
        acknowledged.0[stream][producer].store(n, SeqCst);
        if seq == 40 {
            // A new epoch, as after a restart of the producer.
            (epoch, seq) = (epoch + 1, 0);
        }
    }
    Ok(())
}

/// The messages that a reader of one stream has seen.
#[derive(Default)]
struct Seen {
    /// Number of the next message, by producer.
    next: [u64; PRODUCERS],
    /// Offset from which the reader resumes.
    offset: Option<String>,
}

impl Seen {
    /// Checks and counts a message, which must be the next one of its producer.
    fn take(&mut self, message: &Message) -> Result<(), String> {
        let Message { producer, n, .. } = *message;
        let due = self.next.get(producer).copied();
        if due != Some(n) || message.filler != Message::new(producer, n).filler {
            return Err(format!(
                "{due:?} of producer {producer} is due, and {n} came"
            ));
        }
        self.next[producer] += 1;
        Ok(())
    }

    /// Reads to the tail.
    async fn catch_up(&mut self, address: SocketAddr, stream: usize) -> Result<(), String> {
        loop {
            let from = self.offset.as_deref().unwrap_or("-1");
            let url = format!("http://{address}{}?offset={from}", path(stream));
            let answer = http()?.get(url).send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status() != 200 {
                return Err(format!("{}: {:?}", answer.status(), answer.text().await));
            }
            let header = |name| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
            let up_to_date = header("stream-up-to-date").is_some();
            self.offset = header("stream-next-offset");
            let body = answer.bytes().await.map_err(|error| error.to_string())?;
            let messages: Vec<Message> =
                serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            for message in &messages {
                self.take(message)?;
            }
            if up_to_date {
                return Ok(());
            }
        }
    }

    /// Reads events until the connection ends, and stores the id of each. Sends the counts to
    /// `tell` after each event.
    async fn follow(
        &mut self,
        address: SocketAddr,
        stream: usize,
        tell: &watch::Sender<[u64; PRODUCERS]>,
    ) -> Result<(), String> {
        let mut headers = vec![("Accept", "text/event-stream")];
        if let Some(id) = &self.offset {
            headers.push(("Last-Event-ID", id));
        }
        let Ok(mut response) = raw::get(address, &path(stream), &headers).await else {
            return Ok(());
        };
        if response.status != 200 {
            return Err(format!("the follower was answered {}", response.status));
        }
        let mut decoder = Decoder::new(Format::Sse, Limits::default());
        while let Ok(Some(chunk)) = response.chunk().await {
            decoder.push(Bytes::from(chunk));
            while let Some(event) = decoder.next().map_err(|error| error.to_string())? {
                if &*event.event != Event::DEFAULT_TYPE {
                    return Err(format!("an event {:?} in mid-stream", event.event));
                }
                let message =
                    serde_json::from_str(&event.data).map_err(|error| error.to_string())?;
                self.take(&message)?;
                self.offset = Some(event.id.to_string());
                tell.send_replace(self.next);
            }
        }
        Ok(())
    }
}

/// Follows a stream across restarts of the hub, and sends the counts to `tell`. Returns only on a
/// fault, with its description.
async fn follow(mut hub: Hub, stream: usize, tell: watch::Sender<[u64; PRODUCERS]>) -> String {
    let mut seen = Seen::default();
    while let Some(address) = address(&mut hub).await {
        if let Err(fault) = seen.follow(address, stream, &tell).await {
            return format!("the follower of stream {stream}: {fault}");
        }
        sleep(Duration::from_millis(5)).await;
    }
    "the hub is gone".to_owned()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_hub_keeps_acknowledged_messages_once_and_in_order() -> Outcome {
    let kills = number("HEADWATER_KILLS").unwrap_or(u64::from(KILLS));
    let seed = number("HEADWATER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let limit = Duration::from_secs(60) + Duration::from_secs(2) * u32::try_from(kills)?;
    match within(limit, rounds(kills, seed)).await {
        Ok(()) => Ok(()),
        Err(fault) => Err(format!("with HEADWATER_SEED={seed}: {fault}").into()),
    }
}

async fn rounds(kills: u64, seed: u64) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let mut random = fastrand::Rng::with_seed(seed);
    let (tell, hub) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let acknowledged = Arc::new(Acknowledged::default());
    let mut server = Server::start_hub(folder.path(), &[])?;
    for stream in 0..STREAMS {
        let url = server.url(&path(stream));
        let request = http()?.put(url);
        let request = request.header("content-type", "application/json");
        assert_eq!(request.send().await?.status(), 201);
    }
    let (mut producers, mut followers) = (JoinSet::new(), JoinSet::new());
    let mut followed = Vec::new();
    for stream in 0..STREAMS {
        let (tell, told) = watch::channel([0; PRODUCERS]);
        followers.spawn(follow(hub.clone(), stream, tell));
        followed.push(told);
        for producer in 0..PRODUCERS {
            let (hub, stop) = (hub.clone(), stopped.clone());
            let acknowledged = Arc::clone(&acknowledged);
            producers.spawn(produce(hub, stop, stream, producer, acknowledged));
        }
    }

    let mut followed_all = Vec::new();
    for format in [Format::Sse, Format::Ndjson] {
        let (tell, told) = watch::channel(many::Counts::default());
        followers.spawn(many::follow(hub.clone(), format, tell));
        followed_all.push(told);
    }

    let mut seen: [Seen; STREAMS] = Default::default();
    for round in 0..kills {
        tell.send_replace(Some(server.address));
        sleep(Duration::from_millis(random.u64(1..LIFE_MS))).await;
        server.crash()?;
        tell.send_replace(None);
        // The counts are read after the kill, so that the killed hub can't acknowledge more.
        // Producers don't have the new hub's address yet.
        sleep(Duration::from_millis(5)).await;
        server = Server::start_hub(folder.path(), &[])?;
        for (stream, seen) in seen.iter_mut().enumerate() {
            let acknowledged = acknowledged.of(stream);
            soon(seen.catch_up(server.address, stream))
                .await
                .map_err(|fault| format!("kill {round}, stream {stream}: {fault}"))?;
            let all_there = acknowledged
                .iter()
                .zip(seen.next)
                .all(|(had, has)| *had <= has);
            if !all_there {
                let has = seen.next;
                let fault = format!("{acknowledged:?} were acknowledged, {has:?} are there");
                return Err(format!("kill {round}, stream {stream}: {fault}").into());
            }
        }
        if let Some(ended) = producers.try_join_next() {
            return Err(format!("kill {round}: a producer ended: {:?}", ended?).into());
        }
        if let Some(fault) = followers.try_join_next() {
            return Err(format!("kill {round}: {}", fault?).into());
        }
    }

    // The last hub acknowledges everything, and all followers receive it.
    tell.send_replace(Some(server.address));
    stop.send_replace(true);
    while let Some(ended) = soon(producers.join_next()).await {
        ended??;
    }
    for (stream, mut followed) in followed.into_iter().enumerate() {
        let acknowledged = acknowledged.of(stream);
        soon(seen[stream].catch_up(server.address, stream)).await?;
        assert_eq!(seen[stream].next, acknowledged, "stream {stream}");
        soon(followed.wait_for(|followed| *followed == acknowledged)).await?;
        let least = kills / 2;
        assert!(
            acknowledged.iter().all(|count| *count >= least),
            "{acknowledged:?} is too little"
        );
    }
    let acknowledged: many::Counts = std::array::from_fn(|stream| acknowledged.of(stream));
    for mut followed in followed_all {
        soon(followed.wait_for(|followed| *followed == acknowledged)).await?;
    }
    match followers.try_join_next() {
        None => Ok(()),
        Some(fault) => Err(fault?.into()),
    }
}
