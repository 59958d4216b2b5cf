//! Servers whose disks are slow, while every message and histories are checked as in [`cuts`](crate::cuts).

use std::time::{Duration, Instant};

use headwater_log::Log;
use headwater_nats::NatsLog;

use crate::cuts::seconds;
use crate::servers::Servers;
use crate::support::{append, fresh, name, open_log, outside, plain};
use crate::unrest::load;

/// The time that most syncs of a slow disk take.
const SLOW: Duration = Duration::from_millis(200);
/// The time that some take. It is that after which a hub sends an append again.
const SLOWEST: Duration = Duration::from_secs(2);

/// The time in which appends are quick again.
const QUICK_AGAIN: Duration = Duration::from_secs(30);

/// Measures one append.
fn measure(hub: &NatsLog) -> Duration {
    let start = Instant::now();
    outside(append(hub, &name("measured"), &["m"]));
    start.elapsed()
}

/// Slows the disks of the servers at these distances from the leader for a while. Returns the times of appends.
fn slow(distances: &[usize]) -> Option<Vec<Duration>> {
    let servers = Servers::slow()?;
    let options = fresh(&servers);
    let hub = open_log(&options);
    outside(hub.create(&name("measured"), plain())).unwrap();
    let leader = outside(servers.leader(&options.prefix));
    let (round, clients) = load(&servers, &options, [leader, (leader + 1) % 3]);
    let set = |times: &[Duration]| {
        for distance in distances {
            servers.all[(leader + distance) % 3].set_syncs(times);
        }
    };
    set(&[SLOW, SLOW, SLOW, SLOW, SLOWEST, SLOW, SLOW, SLOW]);
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < seconds(5) {
        times.push(measure(&hub));
    }
    println!(
        "{} appends, the slowest in {:?}",
        times.len(),
        times.iter().max()
    );
    set(&[]);
    let start = Instant::now();
    while measure(&hub) >= SLOW {
        assert!(start.elapsed() < QUICK_AGAIN, "appends stay slow");
    }
    println!("quick again after {:?}", start.elapsed());
    clients.progress_on(0);
    clients.progress_on(1);
    round.finish();
    clients.check();
    Some(times)
}

#[test]
fn a_slow_disk_of_a_follower_delays_nothing() {
    let Some(mut times) = slow(&[1]) else { return };
    times.sort();
    assert!(times[times.len() / 2] < SLOW, "{times:?}");
}

#[test]
fn appends_continue_with_a_slow_disk_of_the_leader() {
    slow(&[0]);
}

#[test]
fn appends_continue_when_all_disks_are_slow() {
    let Some(times) = slow(&[0, 1, 2]) else {
        return;
    };
    // The first append may have begun before.
    assert!(times[1..].iter().all(|time| *time >= SLOW), "{times:?}");
}
