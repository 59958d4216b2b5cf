//! The engine on a disk in memory that loses power, fails and decays.
//!
//! A seed determines the load and the faults. The background threads of the log run as they do
//! elsewhere, so the order of the disk's operations differs from run to run. A failed test prints its
//! seed; repeat it some times. `HEADWATER_LOG_SEEDS` is the number of seeds, for long runs by hand.

// A panic is the report of a failed test.
#![allow(clippy::unwrap_used)]

mod crashes;
mod failures;
mod flips;
mod load;
mod model;
mod observed;
mod rebuilds;
#[path = "../../../../journal/tests/journal/sim.rs"]
#[allow(dead_code, reason = "the tests of the journal use the rest")]
mod sim;

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs a test with each seed: `few` of them, or as many as `HEADWATER_LOG_SEEDS` says.
/// `HEADWATER_LOG_SEED` selects one.
fn for_seeds(few: u64, test: impl Fn(u64)) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|it| it.parse::<u64>().unwrap())
    };
    let seeds = match number("HEADWATER_LOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HEADWATER_LOG_SEEDS").unwrap_or(few),
    };
    watch_threads();
    for seed in seeds {
        test(seed);
        assert!(
            !PANICKED.load(Ordering::Relaxed),
            "seed {seed}: a thread of the log panicked"
        );
    }
}

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Records a panic of a thread of the log, which survives it.
fn watch_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("log:")) {
                PANICKED.store(true, Ordering::Relaxed);
            }
            report(panic);
        }));
    });
}
