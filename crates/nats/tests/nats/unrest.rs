//! Servers that are stopped for long, leaders that move all the time, and the least durability, while every
//! message and histories are checked as in [`cuts`](crate::cuts).

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log::Log;
use headwater_nats::{Durability, NatsOptions};
use rustix::process::Signal;

use crate::cuts::{hub_at, pause_for, recorded, seconds};
use crate::faults::{Round, pause, rounds};
use crate::linear::Clients;
use crate::servers::Servers;
use crate::support::{fresh, open_log, outside, plain};

/// Starts hubs at two servers, and the load on them.
pub(crate) fn load(servers: &Servers, options: &NatsOptions, at: [usize; 2]) -> (Round, Clients) {
    let log = open_log(options);
    outside(log.create(&recorded(), plain())).unwrap();
    let hubs: Vec<_> = at
        .iter()
        .map(|server| hub_at(servers, options, *server))
        .collect();
    let clients = Clients::start(&hubs, &recorded());
    clients.progress(20);
    (Round::on(hubs, Duration::from_millis(100)), clients)
}

/// The leader is stopped for longer than it takes to replace it, and continues where it was. Its
/// hub may only answer what is right then.
#[test]
fn a_leader_that_was_stopped_for_long_serves_no_old_reads_and_loses_nothing() {
    let Some(servers) = Servers::three() else {
        return;
    };
    for _ in 0..rounds(1) {
        let options = fresh(&servers);
        drop(open_log(&options));
        let leader = outside(servers.leader(&options.prefix));
        let (round, clients) = load(&servers, &options, [leader, (leader + 1) % 3]);
        servers.all[leader].signal(Signal::STOP);
        let start = Instant::now();
        clients.progress_on(1);
        println!("the others answer after {:?}", start.elapsed());
        pause_for(seconds(12).saturating_sub(start.elapsed()));
        servers.all[leader].signal(Signal::CONT);
        clients.progress_on(0);
        round.finish();
        clients.check();
    }
}

#[test]
fn a_leader_that_moves_each_second_loses_nothing() {
    let Some(servers) = Servers::three() else {
        return;
    };
    let options = fresh(&servers);
    let (round, clients) = load(&servers, &options, [0, 1]);
    let start = Instant::now();
    let mut leaders = Vec::new();
    while start.elapsed() < seconds(6) {
        leaders.push(outside(servers.leader(&options.prefix)));
        outside(servers.step_down(&options.prefix));
        pause(1000);
    }
    println!("the leaders: {leaders:?}");
    assert!(leaders.windows(2).any(|pair| pair[0] != pair[1]));
    clients.progress_on(0);
    clients.progress_on(1);
    round.finish();
    clients.check();
}

/// The durability `memory` promises nothing of servers, but three replicas keep what one of them loses.
#[test]
fn three_replicas_with_the_least_durability_survive_one_server() {
    let Some(mut servers) = Servers::new(3, "") else {
        return;
    };
    let mut options = fresh(&servers);
    options.durability = Durability::Memory;
    let hubs: Vec<_> = (0..2).map(|_| Arc::new(open_log(&options))).collect();
    let round = Round::on(hubs, Duration::from_millis(20));
    pause(300);
    let leader = outside(servers.leader(&options.prefix));
    servers.all[leader].kill();
    pause(1000);
    servers.restart(leader);
    round.finish();
}
