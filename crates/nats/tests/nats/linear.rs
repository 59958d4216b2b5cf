//! Appends and reads of two hubs form one order, also while leaders are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headwater_log::{Append, Log, Outcome, ReadFrom, StreamName};
use headwater_nats::NatsLog;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::faults::{ROUND, pause, rounds, stream};
use crate::servers::Servers;
use crate::support::{fresh, open_log, outside, plain, runtime};

/// An operation of a history: when it ran, and the offset that it returned.
#[derive(Clone, Copy, Debug)]
struct Seen {
    start: Instant,
    end: Instant,
    offset: u64,
    is_append: bool,
}

/// Returns the first two operations that contradict each other. The offset after an append takes
/// effect once and grows, and a read returns the one at some moment while it ran. So of two operations
/// one of which ended before the other started, the later has no smaller offset, and a greater one if
/// it is an append.
fn contradiction(history: &[Seen]) -> Option<(Seen, Seen)> {
    let mut by_end = history.to_vec();
    by_end.sort_by_key(|seen| seen.end);
    let mut by_start = history.to_vec();
    by_start.sort_by_key(|seen| seen.start);
    let mut ended = by_end.iter().peekable();
    let mut greatest: Option<Seen> = None;
    for later in by_start {
        while let Some(earlier) = ended.next_if(|seen| seen.end < later.start) {
            if greatest.is_none_or(|seen| seen.offset < earlier.offset) {
                greatest = Some(*earlier);
            }
        }
        if let Some(earlier) = greatest
            && (later.offset < earlier.offset
                || (later.is_append && later.offset == earlier.offset))
        {
            return Some((earlier, later));
        }
    }
    None
}

#[test]
fn a_wrong_history_is_found() {
    let base = Instant::now();
    let seen = |start: u64, end: u64, offset, is_append| Seen {
        start: base + Duration::from_millis(start),
        end: base + Duration::from_millis(end),
        offset,
        is_append,
    };
    let right = [
        seen(0, 10, 1, true),
        seen(5, 15, 0, false),
        seen(11, 20, 2, true),
        seen(12, 30, 1, false),
        seen(21, 25, 2, false),
    ];
    assert!(contradiction(&right).is_none());
    // A read misses an append that had ended.
    assert!(contradiction(&[right[0], seen(11, 12, 0, false)]).is_some());
    // A read goes back behind an earlier read.
    assert!(contradiction(&[right[4], seen(26, 27, 1, false)]).is_some());
    // Two appends have one offset.
    assert!(contradiction(&[right[0], seen(11, 12, 1, true)]).is_some());
}

/// Clients that append and read without pause, and record it.
#[derive(Debug)]
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    /// The number of operations that succeeded on each hub.
    done: Vec<Arc<AtomicUsize>>,
    tasks: Vec<JoinHandle<Vec<Seen>>>,
}

impl Clients {
    /// Starts two clients on each hub that append to a stream, and two that read its tail.
    pub(crate) fn start(hubs: &[Arc<NatsLog>], stream: &StreamName) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done: Vec<Arc<AtomicUsize>> = hubs.iter().map(|_| Arc::default()).collect();
        let mut tasks = Vec::new();
        for (hub, done) in hubs.iter().zip(&done) {
            for is_append in [true, true, false, false] {
                let (hub, stop) = (Arc::clone(hub), Arc::clone(&stop));
                let (stream, done) = (stream.clone(), Arc::clone(done));
                tasks.push(runtime().spawn(async move {
                    let mut history = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        let offset = operation(&hub, &stream, is_append).await;
                        let end = Instant::now();
                        if let Some(offset) = offset {
                            done.fetch_add(1, Ordering::Relaxed);
                            history.push(Seen {
                                start,
                                end,
                                offset,
                                is_append,
                            });
                        }
                        sleep(Duration::from_millis(3)).await;
                    }
                    history
                }));
            }
        }
        Self { stop, done, tasks }
    }

    /// Returns the number of operations that succeeded on a hub.
    pub(crate) fn done_on(&self, hub: usize) -> usize {
        self.done[hub].load(Ordering::Relaxed)
    }

    fn done(&self) -> usize {
        (0..self.done.len()).map(|hub| self.done_on(hub)).sum()
    }

    /// Waits for more operations. The clients progress as fast as the machine lets them.
    pub(crate) fn progress(&self, more: usize) {
        let (start, wanted) = (Instant::now(), self.done() + more);
        while self.done() < wanted {
            assert!(start.elapsed() < ROUND, "the clients don't progress");
            pause(10);
        }
    }

    /// Waits until an operation that starts now or later has succeeded on a hub.
    pub(crate) fn progress_on(&self, hub: usize) -> Duration {
        // Each client has at most one operation in progress.
        let (start, wanted) = (Instant::now(), self.done_on(hub) + 5);
        while self.done_on(hub) < wanted {
            assert!(start.elapsed() < ROUND, "the clients don't progress");
            pause(10);
        }
        start.elapsed()
    }

    /// Ends the clients, and checks what they have seen.
    pub(crate) fn check(self) {
        self.stop.store(true, Ordering::Relaxed);
        let history = outside(async {
            let mut all = Vec::new();
            for task in self.tasks {
                all.extend(task.await.unwrap());
            }
            all
        });
        println!("{} operations", history.len());
        if let Some((earlier, later)) = contradiction(&history) {
            panic!("{earlier:?}\n{later:?}");
        }
    }
}

/// Appends, or reads the tail. Returns the offset, or `None` if the outcome isn't known.
async fn operation(hub: &NatsLog, stream: &StreamName, is_append: bool) -> Option<u64> {
    let offset = if is_append {
        let append = Append::new(vec!["m".into()]);
        match hub.append(stream, append).await {
            Ok(Outcome::Appended(receipt)) => receipt.next,
            Ok(other) => panic!("{other:?}"),
            Err(_) => return None,
        }
    } else {
        hub.read(stream, ReadFrom::Tail, 1).await.ok()?.next
    };
    Some(offset.number())
}

#[test]
fn appends_and_reads_of_two_hubs_are_linearizable_while_leaders_die() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    let options = fresh(&servers);
    let hubs: Vec<_> = (0..2).map(|_| Arc::new(open_log(&options))).collect();
    outside(hubs[0].create(&stream(), plain())).unwrap();
    let clients = Clients::start(&hubs, &stream());
    for _ in 0..rounds(1) {
        clients.progress(100);
        let leader = outside(servers.leader(&options.prefix));
        servers.all[leader].kill();
        clients.progress(100);
        servers.restart(leader);
    }
    clients.progress(100);
    clients.check();
}
