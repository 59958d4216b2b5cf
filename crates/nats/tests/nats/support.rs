//! Engines on a cluster, as the shared tests use them.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) use crate::base::{
    START, all, append, fork_of, name, open, options, plain, quick_folder, run, texts,
};
use headwater_log::{
    Answer, Append, Chunk, Clock, Create, Created, Error, Extent, Follower, Identity, Image, Info,
    Known, Limits, Log, Matching, OrderChunk, OrderFollower, Outcome, Page, Position,
    ProducerImage, ReadFrom, Restore, Restored, StreamName, Usage,
};
use headwater_nats::{Durability, NatsLog, NatsOptions, OpenError};
use tokio::runtime::Runtime;

use crate::servers::Servers;

/// The runtime of the engines' tasks, which outlives each test's own.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}

/// Runs a future on the engines' runtime, also from within another one.
pub(crate) fn outside<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| runtime().block_on(work));
        thread.join().unwrap()
    })
}

/// Returns options for a log that doesn't exist yet.
pub(crate) fn fresh(servers: &Servers) -> NatsOptions {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut options = NatsOptions::new(servers.urls());
    options.prefix = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    options.replicas = servers.all.len();
    options.durability = match servers.all.len() {
        1 => Durability::Memory,
        _ => Durability::Replicated,
    };
    options
}

/// Opens a log. A cluster that has just started is given time.
pub(crate) fn open_log(options: &NatsOptions) -> NatsLog {
    let start = Instant::now();
    loop {
        match try_open(options) {
            Ok(log) => return log,
            Err(error) if start.elapsed() > Duration::from_secs(60) => panic!("{error:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

pub(crate) fn try_open(options: &NatsOptions) -> Result<NatsLog, OpenError> {
    outside(NatsLog::open(options.clone()))
}

/// Returns options without background work that a test doesn't request.
pub(crate) fn by_hand(servers: &Servers, clock: &Clock, limits: Limits) -> NatsOptions {
    let mut options = fresh(servers);
    options.clock = clock.clone();
    options.limits = limits;
    options.reclaim_every = Duration::from_secs(3600);
    options
}

/// Runs a test with one hub on a server, and with two between which requests alternate.
pub(crate) fn every_engine(test: impl Fn(&dyn Log, &Clock, &dyn Fn())) {
    every_engine_with(Limits::default(), test);
}

pub(crate) fn every_engine_with(limits: Limits, test: impl Fn(&dyn Log, &Clock, &dyn Fn())) {
    with_hubs(&[1, 2], &limits, test);
}

/// Runs a test with one hub.
pub(crate) fn every_process_with(limits: Limits, test: impl Fn(&dyn Log, &Clock, &dyn Fn())) {
    with_hubs(&[1], &limits, test);
}

fn with_hubs(counts: &[usize], limits: &Limits, test: impl Fn(&dyn Log, &Clock, &dyn Fn())) {
    let Some(servers) = Servers::one() else {
        return;
    };
    for &count in counts {
        let clock = Clock::by_hand(START);
        let options = by_hand(&servers, &clock, limits.clone());
        let hubs = Hubs::new((0..count).map(|_| open_log(&options)).collect());
        test(&hubs, &clock, &|| hubs.settle());
    }
}

/// Hubs on one log. Each request goes to the next one, in an irregular order.
#[derive(Debug)]
pub(crate) struct Hubs {
    pub(crate) hubs: Vec<NatsLog>,
    requests: AtomicUsize,
}

impl Hubs {
    pub(crate) fn new(hubs: Vec<NatsLog>) -> Self {
        Self {
            hubs,
            requests: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> &NatsLog {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        // The bits of a multiple of a large odd number look random.
        let hash = request.wrapping_mul(0x9e37_79b9) >> 7;
        &self.hubs[hash % self.hubs.len()]
    }

    pub(crate) fn settle(&self) {
        outside(self.next().reclaim()).unwrap();
    }
}

impl Log for Hubs {
    fn create<'a>(&'a self, name: &'a StreamName, create: Create) -> Answer<'a, Created> {
        self.next().create(name, create)
    }

    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        self.next().append(name, append)
    }

    fn read<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Answer<'a, Chunk> {
        self.next().read(name, from, budget)
    }

    fn measure<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Answer<'a, Extent> {
        self.next().measure(name, from, budget)
    }

    fn follow<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Follower> {
        self.next().follow(name)
    }

    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info> {
        self.next().info(name)
    }

    fn producer<'a>(
        &'a self,
        name: &'a StreamName,
        producer: &'a str,
    ) -> Answer<'a, Option<Known>> {
        self.next().producer(name, producer)
    }

    fn image<'a>(&'a self, name: &'a StreamName) -> Answer<'a, (Image, Vec<ProducerImage>)> {
        self.next().image(name)
    }

    fn restore<'a>(&'a self, name: &'a StreamName, restore: Restore) -> Answer<'a, Restored> {
        self.next().restore(name, restore)
    }

    fn touch<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        self.next().touch(name)
    }

    fn delete<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        self.next().delete(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<StreamName>,
        limit: usize,
    ) -> Answer<'a, Page> {
        self.next().list(prefix, after, limit)
    }

    fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<Matching>,
    ) -> Answer<'_, OrderChunk> {
        self.next().read_order(from, budget, matching)
    }

    fn follow_order(&self) -> OrderFollower {
        outside(self.next().catch_up()).unwrap();
        self.hubs[0].follow_order()
    }

    fn identity(&self) -> Identity {
        self.next().identity()
    }

    fn usage(&self) -> Usage {
        let hub = self.next();
        outside(hub.catch_up()).unwrap();
        hub.usage()
    }

    fn writable(&self) -> Result<(), Error> {
        self.next().writable()
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            for hub in &self.hubs {
                hub.close().await?;
            }
            Ok(())
        })
    }
}
