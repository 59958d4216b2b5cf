//! A log behind a network that delays requests and responses, and loses them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use headwater_log::{
    Answer, Append, Chunk, Create, Created, Error, Info, Known, Log, MemoryLog, Outcome, ReadFrom,
    StreamName,
};
use parking_lot::Mutex;
use tokio::time::sleep;

/// One hub's connection to the log.
pub(super) struct Network {
    log: Arc<MemoryLog>,
    is_cut: AtomicBool,
    /// `None`: nothing is delayed.
    random: Mutex<Option<Rng>>,
}

/// The fate of one operation.
#[derive(Default)]
struct Fate {
    /// The time until the request arrives. `None`: it never does.
    there: Option<Duration>,
    /// The time until the response arrives. `None`: it never does.
    back: Option<Duration>,
    /// The response says that the outcome is unknown.
    is_unknown: bool,
}

impl Network {
    pub(super) fn new(log: Arc<MemoryLog>) -> Arc<Self> {
        Arc::new(Self {
            log,
            is_cut: AtomicBool::new(false),
            random: Mutex::default(),
        })
    }

    /// Creates a network that delays and loses.
    pub(super) fn troubled(log: Arc<MemoryLog>, seed: u64) -> Arc<Self> {
        let network = Self::new(log);
        *network.random.lock() = Some(Rng::with_seed(seed));
        network
    }

    /// While it is cut, requests and responses are lost.
    pub(super) fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    pub(super) fn heal(&self) {
        self.cut(false);
        *self.random.lock() = None;
    }

    fn fate(&self) -> Fate {
        let at_once = Some(Duration::ZERO);
        if self.is_cut.load(Ordering::Relaxed) {
            return Fate::default();
        }
        let mut random = self.random.lock();
        let Some(random) = random.as_mut() else {
            return Fate {
                there: at_once,
                back: at_once,
                is_unknown: false,
            };
        };
        let mut delay = || match random.u8(..20) {
            0 => None,
            1..4 => Some(Duration::from_millis(random.u64(..25_000))),
            4..7 => Some(Duration::from_millis(random.u64(..3000))),
            _ => Some(Duration::from_millis(random.u64(..50))),
        };
        Fate {
            there: delay(),
            back: delay(),
            is_unknown: random.u8(..20) == 0,
        }
    }

    /// Passes an operation on. It arrives even if its caller doesn't wait any more.
    fn pass<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Answer<'_, T> {
        let Fate {
            there,
            back,
            is_unknown,
        } = self.fate();
        let arrives = tokio::spawn(async move {
            let Some(there) = there else {
                return std::future::pending().await;
            };
            sleep(there).await;
            operation.await
        });
        Box::pin(async move {
            let result = arrives.await.map_err(|_| Error::unavailable("a panic"))?;
            let Some(back) = back.filter(|_| !self.is_cut.load(Ordering::Relaxed)) else {
                return std::future::pending().await;
            };
            sleep(back).await;
            match is_unknown {
                true => Err(Error::unknown("the response was lost")),
                false => result,
            }
        })
    }
}

impl Log for Network {
    fn create<'a>(&'a self, name: &'a StreamName, create: Create) -> Answer<'a, Created> {
        let (log, name) = (Arc::clone(&self.log), name.clone());
        self.pass(async move { log.create(&name, create).await })
    }

    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        let (log, name) = (Arc::clone(&self.log), name.clone());
        self.pass(async move { log.append(&name, append).await })
    }

    fn read<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Answer<'a, Chunk> {
        let (log, name) = (Arc::clone(&self.log), name.clone());
        self.pass(async move { log.read(&name, from, budget).await })
    }

    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info> {
        let (log, name) = (Arc::clone(&self.log), name.clone());
        self.pass(async move { log.info(&name).await })
    }

    fn producer<'a>(
        &'a self,
        name: &'a StreamName,
        producer: &'a str,
    ) -> Answer<'a, Option<Known>> {
        let (log, name, producer) = (Arc::clone(&self.log), name.clone(), producer.to_owned());
        self.pass(async move { log.producer(&name, &producer).await })
    }

    pass_on!(measure follow image restore touch delete list read_order follow_order identity usage writable close);
}
