//! Functions that the tests share.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use headwater_log::{
    Append, Chunk, Clock, Create, DiskLog, DiskOptions, Durability, Error, ForkFrom, Limits, Log,
    MemoryLog, MemoryOptions, Outcome, ReadFrom, Receipt, Settings, Skip, StreamName, Timestamp,
};

pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000);

/// Runs a future to its end. Panics if that takes too long.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), work)
            .await
            .expect("it ends within a minute")
    })
}

pub(crate) fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

pub(crate) fn plain() -> Create {
    Create::new(Settings::of_type("text/plain"))
}

/// Returns a request for a fork of all messages of `source`.
pub(crate) fn fork_of(source: &StreamName) -> Create {
    let mut create = plain();
    create.fork = Some(ForkFrom {
        source: source.clone(),
        at: None,
        of: None,
        skip: Skip::NONE,
    });
    create
}

/// Returns a folder for a log whose speed matters more than its durability: in memory if the system
/// has that.
pub(crate) fn quick_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap()
}

/// Returns options without background work that a test doesn't request.
pub(crate) fn options(clock: &Clock, limits: Limits) -> DiskOptions {
    let mut options = DiskOptions::default();
    options.clock = clock.clone();
    options.limits = limits;
    options.durability = Durability::Os;
    options.reclaim_every = Duration::from_secs(3600);
    options.reserve_bytes = 0;
    options
}

pub(crate) fn open(folder: &Path) -> Result<DiskLog, Error> {
    DiskLog::open(folder, options(&Clock::system(), Limits::default()))
}

/// Runs a test with both engines, each new.
pub(crate) fn every_engine(test: impl Fn(&dyn Log, &Clock, &dyn Fn())) {
    every_engine_with(Limits::default(), test);
}

pub(crate) fn every_engine_with(limits: Limits, test: impl Fn(&dyn Log, &Clock, &dyn Fn())) {
    let clock = Clock::by_hand(START);
    let mut memory = MemoryOptions::default();
    memory.clock = clock.clone();
    memory.limits = limits.clone();
    memory.reclaim_every = Duration::from_secs(3600);
    let log = MemoryLog::new(memory);
    test(&log, &clock, &|| while log.reclaim(100) {});

    let clock = Clock::by_hand(START);
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(folder.path(), options(&clock, limits)).unwrap();
    test(&log, &clock, &|| while log.reclaim().unwrap() {});
}

/// Runs a test with each engine as one process has it, for tests that depend on the order of
/// concurrent operations. Tests of an engine for several processes have another one.
pub(crate) fn every_process_with(limits: Limits, test: impl Fn(&dyn Log, &Clock, &dyn Fn())) {
    every_engine_with(limits, test);
}

pub(crate) async fn append(log: &dyn Log, stream: &StreamName, messages: &[&str]) -> Receipt {
    let messages = messages
        .iter()
        .map(|text| text.to_string().into())
        .collect();
    match log.append(stream, Append::new(messages)).await.unwrap() {
        Outcome::Appended(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn texts(chunk: &Chunk) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    chunk
        .messages()
        .map(|message| text(&message.bytes))
        .collect()
}

pub(crate) async fn all(log: &dyn Log, stream: &StreamName) -> Vec<String> {
    texts(&log.read(stream, ReadFrom::Start, usize::MAX).await.unwrap())
}
