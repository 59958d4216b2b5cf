//! Servers that are full: at the limit of the account, at their own, or because their disks are. Every message is
//! checked as in [`faults`](crate::faults).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use headwater_log::{Append, Error, Log, Outcome, ReadFrom};
use headwater_nats::NatsLog;
use rustix::process::Signal;

use crate::faults::{Round, pause};
use crate::servers::Servers;
use crate::support::{fresh, name, open_log, outside, plain, texts};
use crate::unrest::load;

/// The time in which appends resume when there is space.
const RESUMED: Duration = Duration::from_secs(60);
/// Number of messages of 100 kB that are more than servers with a limit store.
const OVER_LIMIT: usize = 100;
/// The size of a server's file system, which is full when a test fills it.
const DISK: u64 = 64 << 20;

/// Appends a message of the producer that fills the servers.
fn append(hub: &NatsLog, seq: usize, size: usize) -> Result<Outcome, Error> {
    let append = Append::new(vec!["x".repeat(size).into()]);
    let append = append.by("filler", 0, seq as u64);
    outside(hub.append(&name("big"), append))
}

/// Appends messages of each size until one fails. Returns the sizes of those that are stored, and the failures.
fn fill(hub: &NatsLog, sizes: &[usize]) -> (Vec<usize>, Vec<Error>) {
    let mut stored = Vec::new();
    let failures = sizes.iter().map(|size| {
        loop {
            match append(hub, stored.len(), *size) {
                Ok(_) => stored.push(*size),
                Err(error) => return error,
            }
        }
    });
    let failures = failures.collect();
    println!("full after {} messages: {failures:?}", stored.len());
    (stored, failures)
}

/// Returns the sizes of the messages of [`fill`].
fn sizes(hub: &NatsLog) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut from = ReadFrom::Start;
    loop {
        let chunk = outside(hub.read(&name("big"), from, 1 << 20)).unwrap();
        sizes.extend(texts(&chunk).iter().map(String::len));
        from = ReadFrom::At(chunk.next);
        if chunk.at_tail {
            return sizes;
        }
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < RESUMED, "{what}");
        pause(50);
    }
    println!("{what} after {:?}", start.elapsed());
}

fn refuses(error: &Error) -> bool {
    error.is_storage_full() && !error.is_outcome_unknown()
}

/// A third hub gets one request, and is ready again although nothing is appended there.
#[test]
fn appends_are_refused_at_the_limit_of_the_account_until_it_is_raised() {
    let accounts = Servers::ACCOUNTS.replace("enabled", "{max_file: 24MB}");
    let Some(servers) = Servers::configured(3, "sync_interval: always", &accounts) else {
        return;
    };
    let options = fresh(&servers);
    let hubs: Vec<_> = (0..2).map(|_| Arc::new(open_log(&options))).collect();
    let idle = open_log(&options);
    for stream in ["big", "dead"] {
        outside(idle.create(&name(stream), plain())).unwrap();
    }
    let round = Round::on(hubs.clone(), Duration::from_millis(20));
    let (mut stored, failures) = fill(&hubs[0], &[100_000, 10_000, 1000, 10]);
    assert!(failures.iter().all(refuses), "{failures:?}");
    assert!(append(&idle, stored.len(), 10).is_err_and(|error| refuses(&error)));
    for hub in [&*hubs[0], &idle] {
        assert!(hub.writable().is_err_and(|error| refuses(&error)));
        assert_eq!(sizes(hub), stored);
    }
    // A deletion is a record too.
    let deleted = outside(hubs[0].delete(&name("dead")));
    assert!(deleted.is_err_and(|error| refuses(&error)));

    for index in 0..3 {
        servers.reconfigure(index, "{max_file: 24MB}", "{max_file: 1GB}");
        servers.all[index].signal(Signal::HUP);
    }
    wait_until("the idle hub is ready", || idle.writable().is_ok());
    outside(hubs[0].delete(&name("dead"))).unwrap();
    append(&idle, stored.len(), 10).unwrap();
    stored.push(10);
    round.finish();
    for hub in [&*hubs[0], &*hubs[1], &idle] {
        assert_eq!(sizes(hub), stored);
    }
}

/// Servers at their limit have no leader. Restarts with a larger limit end that.
#[test]
fn nothing_is_lost_or_doubled_at_the_limit_of_the_servers() {
    let Some(mut servers) = Servers::new(3, "sync_interval: always, max_file: 8MB") else {
        return;
    };
    let options = fresh(&servers);
    let hubs: Vec<_> = (0..2).map(|_| Arc::new(open_log(&options))).collect();
    outside(hubs[0].create(&name("big"), plain())).unwrap();
    let round = Round::on(hubs.clone(), Duration::from_millis(20));
    let stored = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stored.load(Ordering::Relaxed) < OVER_LIMIT {
                match append(&hubs[0], stored.load(Ordering::Relaxed), 100_000) {
                    Ok(_) => _ = stored.fetch_add(1, Ordering::Relaxed),
                    // The leader refuses one append and steps down.
                    Err(error) if refuses(&error) || error.is_unavailable() => {}
                    Err(error) => assert!(error.is_outcome_unknown(), "{error:?}"),
                }
            }
        });
        wait_until("nothing is stored", || {
            let before = stored.load(Ordering::Relaxed);
            pause(1000);
            before > 0 && stored.load(Ordering::Relaxed) == before
        });
        assert!(stored.load(Ordering::Relaxed) < OVER_LIMIT);
        for index in 0..3 {
            servers.reconfigure(index, "max_file: 8MB", "max_file: 1GB");
            servers.restart(index);
        }
    });
    round.finish();
    for hub in &hubs {
        assert_eq!(sizes(hub), [100_000; OVER_LIMIT]);
        hub.writable().unwrap();
    }
}

/// A leader at its limit steps down, and no client notices. It has everything when its limit is raised.
#[test]
fn a_server_at_its_limit_leaves_the_log_to_the_others() {
    let Some(mut servers) = Servers::three() else {
        return;
    };
    let options = fresh(&servers);
    let hub = open_log(&options);
    outside(hub.create(&name("big"), plain())).unwrap();
    let full = outside(servers.leader(&options.prefix));
    for (from, to) in [("2GB", "8MB"), ("8MB", "2GB")] {
        servers.reconfigure(
            full,
            &format!("max_file: {from}"),
            &format!("max_file: {to}"),
        );
        servers.restart(full);
        outside(servers.lead(&options.prefix, full));
        if to == "8MB" {
            for seq in 0..OVER_LIMIT {
                append(&hub, seq, 100_000).unwrap();
            }
            assert_ne!(outside(servers.leader(&options.prefix)), full);
        }
    }
    assert_eq!(sizes(&hub), [100_000; OVER_LIMIT]);
    append(&hub, OVER_LIMIT, 10).unwrap();
}

/// A server with a full disk takes no part any more until it is restarted with space, and then it has everything.
#[test]
fn a_server_with_a_full_disk_leaves_the_log_to_the_others() {
    let Some(mut servers) = Servers::small(DISK) else {
        return;
    };
    let options = fresh(&servers);
    drop(open_log(&options));
    let leader = outside(servers.leader(&options.prefix));
    let (round, clients) = load(&servers, &options, [leader, (leader + 1) % 3]);
    servers.disks[leader].fill();
    wait_until("another server leads", || {
        outside(servers.leader(&options.prefix)) != leader
    });
    for hub in [0, 1] {
        clients.progress_on(hub);
    }
    servers.disks[leader].free();
    servers.restart(leader);
    outside(servers.lead(&options.prefix, leader));
    clients.progress_on(0);
    round.finish();
    clients.check();
}

#[test]
fn appends_wait_while_most_disks_are_full() {
    let Some(mut servers) = Servers::small(DISK) else {
        return;
    };
    let options = fresh(&servers);
    let (round, clients) = load(&servers, &options, [0, 1]);
    (1..3).for_each(|server| servers.disks[server].fill());
    let done = || clients.done_on(0) + clients.done_on(1);
    wait_until("appends wait", || {
        let before = done();
        pause(1000);
        done() == before
    });
    for server in 1..3 {
        servers.disks[server].free();
        servers.restart(server);
    }
    clients.progress_on(0);
    clients.progress_on(1);
    round.finish();
    clients.check();
}
