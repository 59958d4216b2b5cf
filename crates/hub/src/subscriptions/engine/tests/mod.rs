mod any_order;
mod leases;
mod links;
mod owners;
mod storage;

use std::collections::BTreeMap;

use super::*;
use crate::subscriptions::limits::LINKS;
use crate::subscriptions::state::{Acked, Bounds, Link, State, Target};
use headwater_auth::StreamPattern as Pattern;
use headwater_log::{
    Append, Create, DiskLog, DiskOptions, Info, Mark, MemoryLog, MemoryOptions, Offset, ReadFrom,
    Settings,
};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(10);

/// An engine over an in-memory log. The test controls its turns and its clock.
struct Bench {
    log: Arc<dyn Log>,
    /// The folder of the log, if it is on disk.
    folder: Option<TempDir>,
    clock: Clock,
    engine: Engine,
    journal: Journal,
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn id() -> Arc<str> {
    "sub".into()
}

fn open(folder: &TempDir) -> Arc<dyn Log> {
    Arc::new(DiskLog::open(folder.path(), DiskOptions::default()).unwrap())
}

/// Returns a pull-wake subscription to `s/*` and to these streams.
fn config(streams: &[&str]) -> Config {
    Config {
        pattern: Some(Pattern::new("s/*").unwrap()),
        streams: streams.iter().map(|text| name(text)).collect(),
        target: Target::WakeStream(name("wakes")),
        lease_ms: 10_000,
        description: None,
    }
}

impl Bench {
    async fn new() -> Self {
        let mut options = MemoryOptions::default();
        options.max_bytes = 1 << 30;
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(options));
        Self::begin(log, None).await
    }

    async fn on_disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = open(&folder);
        Self::begin(log, Some(folder)).await
    }

    async fn begin(log: Arc<dyn Log>, folder: Option<TempDir>) -> Self {
        let json = Create::new(Settings::of_type("application/json"));
        log.create(&name("wakes"), json).await.unwrap();
        Self::over(log, folder, Clock::by_hand(Timestamp(1_000_000))).await
    }

    async fn over(log: Arc<dyn Log>, folder: Option<TempDir>, clock: Clock) -> Self {
        Self::bounded(log, folder, clock, Bounds::default()).await
    }

    async fn bounded(
        log: Arc<dyn Log>,
        folder: Option<TempDir>,
        clock: Clock,
        bounds: Bounds,
    ) -> Self {
        Self::leased(log, folder, clock, bounds, None).await
    }

    async fn leased(
        log: Arc<dyn Log>,
        folder: Option<TempDir>,
        clock: Clock,
        bounds: Bounds,
        lease: Option<Lease>,
    ) -> Self {
        let (_, commands) = mpsc::channel(1);
        let options = SubscriptionOptions {
            bounds,
            ..SubscriptionOptions::default()
        };
        let mut engine = Engine::new(Arc::clone(&log), options, commands, lease);
        engine.clock = Monotonic::new(clock.clone());
        let journal = engine.open().await.unwrap();
        Self {
            log,
            folder,
            clock,
            engine,
            journal,
        }
    }

    /// Restarts as after a crash: only the log is left.
    async fn restart(self) -> Self {
        let Self {
            mut log,
            folder,
            clock,
            engine,
            journal,
        } = self;
        let bounds = engine.options.bounds.clone();
        drop((engine, journal));
        if let Some(folder) = &folder {
            log.close().await.unwrap();
            drop(log);
            log = open(folder);
        }
        Self::bounded(log, folder, clock, bounds).await
    }

    async fn turn(&mut self) {
        assert!(self.engine.turn(Event::Turn, &mut self.journal).await);
    }

    async fn ask<T>(&mut self, make: impl FnOnce(Answer<T>) -> Command) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let event = Event::Command(make(answer));
        assert!(self.engine.turn(event, &mut self.journal).await);
        answered.await.unwrap()
    }

    async fn put(&mut self, id: Arc<str>, config: Config) -> Result<bool, Refusal> {
        let (config, base) = (Box::new(config), "http://hub/streams".to_owned());
        self.ask(|answer| Command::Put {
            id,
            config,
            base,
            answer,
        })
        .await
    }

    /// Claims as a worker. Returns the wake, generation, token, and the streams with their tails.
    async fn claim(&mut self) -> Result<Claim, Refusal> {
        let make = |answer| Command::Claim {
            id: id(),
            worker: "w".to_owned(),
            answer,
        };
        let claimed = serde_json::to_value(self.ask(make).await?).unwrap();
        let streams = claimed["streams"].as_array().unwrap().iter();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Ok(Claim {
            wake_id: text(&claimed["wake_id"]),
            generation: claimed["generation"].as_u64().unwrap(),
            token: text(&claimed["token"]),
            streams: streams
                .filter(|stream| stream["has_pending"] == true)
                .map(|stream| {
                    (
                        name(&text(&stream["path"])),
                        text(&stream["tail_offset"]).parse().unwrap(),
                    )
                })
                .collect(),
        })
    }

    async fn ack(
        &mut self,
        claim: &Claim,
        acks: Vec<(StreamName, Mark)>,
        done: bool,
    ) -> Result<bool, Refusal> {
        let Claim {
            wake_id,
            generation,
            token,
            ..
        } = claim.clone();
        let ack = Ack {
            wake_id,
            generation,
            acks: acks
                .into_iter()
                .map(|(name, mark)| (name, Acked::At(mark)))
                .collect(),
            done,
        };
        self.ask(|answer| Command::Ack {
            id: id(),
            token,
            ack,
            webhook: false,
            answer,
        })
        .await
    }

    async fn release(&mut self, claim: &Claim) -> Result<(), Refusal> {
        let Claim {
            wake_id,
            generation,
            token,
            ..
        } = claim.clone();
        let make = |answer| Command::Release {
            id: id(),
            token,
            wake_id,
            generation,
            answer,
        };
        self.ask(make).await
    }

    async fn append(&self, stream: &str) -> Offset {
        let stream = name(stream);
        let json = Create::new(Settings::of_type("application/json"));
        self.log.create(&stream, json).await.unwrap();
        self.log
            .append(&stream, Append::new(vec!["1".into()]))
            .await
            .unwrap();
        self.info(&stream).await.tail
    }

    async fn info(&self, stream: &StreamName) -> Info {
        self.log.info(stream).await.unwrap()
    }

    /// Returns the number of wake events that were written.
    async fn wakes(&self) -> u64 {
        self.info(&name("wakes")).await.tail.number()
    }

    fn known(&self) -> &crate::subscriptions::state::Subscription {
        self.engine.registry.get(&id()).unwrap()
    }

    fn link(&self, stream: &str) -> Option<Link> {
        self.known().links.get(&name(stream)).cloned()
    }

    /// Returns the state that a restart has to restore.
    fn all(&self) -> BTreeMap<Arc<str>, Known> {
        let all = self.engine.registry.iter().map(|(id, known)| {
            // Idle links don't have to be known.
            let links = known.links.iter().filter(|(_, link)| !link.is_idle());
            let links = links.map(|(name, link)| (name.clone(), link.clone()));
            let known = (known.digest.clone(), known.state(), links.collect());
            (Arc::clone(id), known)
        });
        all.collect()
    }

    /// Returns the streams that a client sees, each with the offset up to which it is processed.
    async fn shown(&mut self, limit: usize) -> Vec<(StreamName, String)> {
        let (mut after, mut shown) = (None, Vec::new());
        let config = Arc::clone(&self.known().config);
        loop {
            // As `Subscriptions::matching` does.
            let mut matching = Vec::new();
            let mut until = after.clone();
            loop {
                let page = self.log.list("", until, limit).await.unwrap();
                until = page.after;
                let streams = page.streams.iter();
                let streams = streams.filter(|info| config.matches(&info.name));
                matching.extend(streams.map(|info| (info.name.clone(), Link::at_tail(info))));
                if until.is_none() || matching.len() >= limit {
                    break;
                }
            }
            let part = Part {
                after,
                until,
                limit,
                matching,
            };
            let show = |answer| Command::Show {
                id: id(),
                base: String::new(),
                part,
                answer,
            };
            let view = serde_json::to_value(self.ask(show).await.unwrap()).unwrap();
            let streams = view["streams"].as_array().unwrap();
            assert!(streams.len() <= limit);
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            shown.extend(
                streams
                    .iter()
                    .map(|stream| (name(&text(&stream["path"])), text(&stream["acked_offset"]))),
            );
            match view["after"].as_str() {
                Some(last) => after = Some(name(last)),
                None => return shown,
            }
        }
    }
}

/// A subscription's configuration, by its digest, its state and its links.
type Known = (Vec<u8>, State, Vec<(StreamName, Link)>);

#[derive(Clone, Debug)]
struct Claim {
    wake_id: String,
    generation: u64,
    token: String,
    streams: Vec<(StreamName, Mark)>,
}
