//! The thread that ends expired streams and notifies their readers while nothing is written.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::Streams;

/// Number of streams that are processed before the lock is released.
const STEP: usize = 64;

/// Starts a thread that reclaims at the interval `every`, as long as anything can become due and
/// `ended` has a sender.
pub(super) fn start(streams: Arc<Mutex<Streams>>, every: Duration, ended: mpsc::Receiver<()>) {
    let every = every.max(Duration::from_millis(1));
    let kept = Arc::clone(&streams);
    let started = thread::Builder::new()
        .name("log:reclaim".to_owned())
        .spawn(move || run(&streams, every, &ended));
    if let Err(error) = started {
        tracing::warn!(%error, "no thread for what expires; writing does it");
        // The next operation tries again.
        kept.lock().is_reclaimed = false;
    }
}

fn run(streams: &Mutex<Streams>, every: Duration, ended: &mpsc::Receiver<()>) {
    let mut wait = every;
    // Nothing is ever sent on this channel.
    while ended.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
        let mut streams = streams.lock();
        wait = match streams.at_now().sweep(STEP) {
            true => Duration::ZERO,
            false => every,
        };
        if streams.machine.is_closed() || streams.machine.next_due().is_none() {
            streams.is_reclaimed = false;
            return;
        }
    }
}
