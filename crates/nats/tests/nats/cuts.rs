//! The network between the servers is cut while producers and readers check every message, and clients
//! record histories, which are checked for linearizability.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log::{Log, StreamName};
use headwater_nats::{NatsLog, NatsOptions};

use crate::faults::{Round, pause, rounds};
use crate::linear::Clients;
use crate::network::Link;
use crate::servers::Servers;
use crate::support::{fresh, name, open_log, outside, plain};

/// The time in which the servers elect a leader, on a machine that does much else. An election starts after up
/// to 9 s without one, and may have to be repeated.
const ELECTION: Duration = Duration::from_secs(60);

/// The length of a fault.
pub(crate) fn seconds(default: u64) -> Duration {
    let seconds = std::env::var("HEADWATER_NATS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(default))
}

/// The stream of the histories.
pub(crate) fn recorded() -> StreamName {
    name("recorded")
}

/// Opens a hub that knows one server only, and stays connected to it.
pub(crate) fn hub_at(servers: &Servers, options: &NatsOptions, server: usize) -> Arc<NatsLog> {
    let mut options = options.clone();
    options.servers = vec![servers.all[server].url()];
    Arc::new(open_log(&options))
}

/// Servers, a hub at the leader and one at another server, and the load on both.
struct Load {
    servers: Servers,
    options: NatsOptions,
    leader: usize,
    hubs: Vec<Arc<NatsLog>>,
    round: Round,
    clients: Clients,
}

/// The places of the hubs in [`Load`].
const AT_LEADER: usize = 0;
const ELSEWHERE: usize = 1;

impl Load {
    /// Starts producers that pause after each message, and clients that don't.
    fn start(pause: Duration) -> Option<Self> {
        let servers = Servers::networked()?;
        let options = fresh(&servers);
        let log = open_log(&options);
        outside(log.create(&recorded(), plain())).unwrap();
        drop(log);
        let leader = outside(servers.leader(&options.prefix));
        let hubs = vec![
            hub_at(&servers, &options, leader),
            hub_at(&servers, &options, (leader + 1) % 3),
        ];
        let clients = Clients::start(&hubs, &recorded());
        clients.progress(50);
        Some(Self {
            round: Round::on(hubs.clone(), pause),
            servers,
            options,
            leader,
            hubs,
            clients,
        })
    }

    /// Checks every message and the histories.
    fn finish(self) {
        self.round.finish();
        self.clients.check();
    }
}

/// The leader is cut off from both other servers, and neither side is told. A hub that is connected to the
/// leader alone acknowledges and reads nothing, and isn't ready. The histories contain what both hubs
/// answered at any time, so also what the cut-off leader answered before and after it was replaced.
#[test]
fn a_leader_that_is_cut_off_serves_no_old_reads_and_loses_nothing() {
    let Some(load) = Load::start(Duration::from_millis(150)) else {
        return;
    };
    for _ in 0..rounds(1) {
        let network = load.servers.network();
        network.set_all_of(load.leader, Link::Silent);
        let start = Instant::now();
        let resumed = load.clients.progress_on(ELSEWHERE);
        println!("the majority's side answers after {resumed:?}");
        assert!(resumed < ELECTION);
        let before = load.clients.done_on(AT_LEADER);
        let mut is_ready = true;
        while start.elapsed() < seconds(10) || is_ready {
            is_ready = load.hubs[AT_LEADER].writable().is_ok();
            assert!(start.elapsed() < ELECTION * 2, "the hub stays ready");
            pause(50);
        }
        // Answers that were on their way when the leader was replaced.
        assert!(load.clients.done_on(AT_LEADER) <= before + 4);
        assert!(load.hubs[ELSEWHERE].writable().is_ok());
        network.set_all_of(load.leader, Link::Up);
        let returned = load.clients.progress_on(AT_LEADER);
        println!("the cut-off hub answers after {returned:?}");
        assert!(load.hubs[AT_LEADER].writable().is_ok());
        // The next round has a leader there again.
        outside(load.servers.lead(&load.options.prefix, load.leader));
    }
    load.finish();
}

/// A hub knows two servers, and can reach one of them at first, the leader. When that is cut off from the
/// other servers, the hub connects to the other one, although nothing breaks its connection.
#[test]
fn a_hub_leaves_a_server_that_is_cut_off() {
    let Some(servers) = Servers::networked() else {
        return;
    };
    let mut options = fresh(&servers);
    drop(open_log(&options));
    let leader = outside(servers.leader(&options.prefix));
    let (port, door) = servers.door((leader + 1) % 3);
    door.send_replace(Link::Down);
    options.servers = vec![
        servers.all[leader].url(),
        format!("nats://127.0.0.1:{port}"),
    ];
    let hub = open_log(&options);
    outside(hub.create(&recorded(), plain())).unwrap();
    door.send_replace(Link::Up);
    servers.network().set_all_of(leader, Link::Silent);
    let start = Instant::now();
    let mut is_created = false;
    while !is_created {
        assert!(start.elapsed() < ELECTION * 2, "the hub doesn't move");
        is_created = outside(hub.create(&name("later"), plain())).is_ok();
    }
    println!("the hub has moved after {:?}", start.elapsed());
}

/// One link of three is cut: that between the leader and the server of the second hub. Both reach the
/// third server.
#[test]
fn one_cut_link_loses_nothing() {
    let Some(load) = Load::start(Duration::from_millis(100)) else {
        return;
    };
    for _ in 0..rounds(1) {
        let other = (load.leader + 1) % 3;
        load.servers.network().set(load.leader, other, Link::Silent);
        pause_for(seconds(6));
        load.servers.network().set(load.leader, other, Link::Up);
        for hub in [AT_LEADER, ELSEWHERE] {
            assert!(load.clients.progress_on(hub) < ELECTION);
        }
    }
    load.finish();
}

/// Each second another link or server is cut, reset or slow.
#[test]
fn a_network_that_changes_each_second_loses_nothing() {
    let Some(load) = Load::start(Duration::from_millis(100)) else {
        return;
    };
    let states = [
        Link::Silent,
        Link::Down,
        Link::Slow(Duration::from_millis(100)),
    ];
    let start = Instant::now();
    for turn in 0.. {
        if start.elapsed() >= seconds(6) {
            break;
        }
        let network = load.servers.network();
        let state = states[turn % states.len()];
        match turn % 2 {
            0 => network.set(turn % 3, (turn + 1) % 3, state),
            _ => network.set_all_of(turn % 3, state),
        }
        pause(700);
        (0..3).for_each(|server| network.set_all_of(server, Link::Up));
        pause(300);
    }
    for hub in [AT_LEADER, ELSEWHERE] {
        assert!(load.clients.progress_on(hub) < ELECTION);
    }
    load.finish();
}

pub(crate) fn pause_for(time: Duration) {
    std::thread::sleep(time);
}
