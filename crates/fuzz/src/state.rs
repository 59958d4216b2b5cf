//! The state of a log, as a snapshot has it.

use headwater_log::{Log, MemoryLog, MemoryOptions, Position, ReadFrom};
use tokio::runtime::Builder;

use crate::memory::Meter;

/// Checks that a state is refused, or can be read and round-trips.
///
/// # Panics
/// If it can't, or doesn't.
pub fn state(input: &[u8]) {
    let meter = Meter::start();
    let mut options = MemoryOptions::default();
    // No thread sweeps meanwhile.
    options.reclaim_every = std::time::Duration::from_secs(3600);
    let log = MemoryLog::new(options.clone());
    if log.set_state(input).is_ok() {
        let state = log.state();
        let again = MemoryLog::new(options);
        assert!(again.set_state(&state).is_ok(), "its encoding is refused");
        assert!(again.state() == state, "its encoding differs");
        let runtime = Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime without drivers starts");
        runtime.block_on(read(&log));
    }
    meter.check(input.len(), 4 << 20, 4096);
}

async fn read(log: &MemoryLog) {
    let page = log.list("", None, 1000).await;
    for stream in page.expect("names can be listed").streams {
        let chunk = log.read(&stream.name, ReadFrom::Start, usize::MAX).await;
        let extent = log.measure(&stream.name, ReadFrom::Start, u64::MAX).await;
        if let (Ok(chunk), Ok(extent)) = (chunk, extent) {
            assert_eq!(chunk.extent(), extent);
        }
    }
    let order = log.read_order(Position::START, usize::MAX, None).await;
    assert!(order.is_ok(), "the order can't be read");
}
