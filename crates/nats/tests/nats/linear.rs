//! Appends and reads of two hubs form one order, also while leaders are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headwater_log::{Append, Log, Outcome, ReadFrom};
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

#[test]
fn appends_and_reads_of_two_hubs_are_linearizable_while_leaders_die() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    let options = fresh(&servers);
    let hubs: Vec<_> = (0..2).map(|_| Arc::new(open_log(&options))).collect();
    outside(hubs[0].create(&stream(), plain())).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    // The clients progress as fast as the machine lets them.
    let progress = |more: usize| {
        let (start, wanted) = (Instant::now(), done.load(Ordering::Relaxed) + more);
        while done.load(Ordering::Relaxed) < wanted {
            assert!(start.elapsed() < ROUND, "the clients don't progress");
            pause(10);
        }
    };
    let clients: Vec<_> = (0..8_usize)
        .map(|client| {
            let (hub, stop) = (Arc::clone(&hubs[client % 2]), Arc::clone(&stop));
            let done = Arc::clone(&done);
            runtime().spawn(async move {
                let mut history = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let is_append = client < 4;
                    let offset = match is_append {
                        true => {
                            let append = Append::new(vec!["m".into()]);
                            match hub.append(&stream(), append).await {
                                Ok(Outcome::Appended(receipt)) => Some(receipt.next),
                                Ok(other) => panic!("{other:?}"),
                                Err(_) => None,
                            }
                        }
                        false => {
                            let read = hub.read(&stream(), ReadFrom::Tail, 1).await;
                            read.ok().map(|chunk| chunk.next)
                        }
                    };
                    let end = Instant::now();
                    if let Some(offset) = offset {
                        let offset = offset.number();
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
            })
        })
        .collect();
    for _ in 0..rounds(1) {
        progress(100);
        let leader = outside(servers.leader(&options.prefix));
        servers.all[leader].kill();
        progress(100);
        servers.restart(leader);
    }
    progress(100);
    stop.store(true, Ordering::Relaxed);
    let history = outside(async {
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.await.unwrap());
        }
        all
    });
    println!("{} operations", history.len());
    if let Some((earlier, later)) = contradiction(&history) {
        panic!("{earlier:?}\n{later:?}");
    }
}
