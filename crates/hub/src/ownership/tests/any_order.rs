//! Hubs that begin, end, are killed and are cut off at random times, with a network that delays and loses.

use std::collections::HashMap;

use fastrand::Rng;
use tokio::runtime::Builder;

use super::*;

/// Number of simulated runs.
const RUNS: u64 = 100;
/// The time that is simulated in each.
const TIME: Duration = Duration::from_secs(600);
/// Interval between looks at all hubs.
const STEP: Duration = Duration::from_millis(50);
const HUBS: usize = 4;

/// A hub, while it runs.
struct Machine {
    network: Arc<Network>,
    hub: Option<Hub>,
}

/// The owners that were seen: each term, with the number of its hub's process.
#[derive(Default)]
struct Owners {
    terms: HashMap<u64, usize>,
    last: u64,
}

impl Owners {
    /// Checks that at most one hub holds a valid lease, of a term that no other has had.
    fn check(&mut self, machines: &[Machine], processes: &[usize]) {
        let mut owners = Vec::new();
        for (at, machine) in machines.iter().enumerate() {
            let Some(hub) = &machine.hub else { continue };
            let leases = hub.leases.lock();
            let valid: Vec<u64> = leases
                .iter()
                .flatten()
                .filter(|lease| lease.is_valid())
                .map(Lease::term)
                .collect();
            assert!(hub.is_owner() || valid.is_empty());
            owners.extend(valid.into_iter().map(|term| (term, processes[at])));
        }
        assert!(owners.len() <= 1, "two owners: {owners:?}");
        if let Some((term, process)) = owners.pop() {
            assert!(term >= self.last, "an earlier term is valid again");
            self.last = term;
            assert_eq!(*self.terms.entry(term).or_insert(process), process);
        }
    }
}

async fn run(seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let log = log();
    let mut started = 0;
    let mut processes = [0; HUBS];
    let mut machines: Vec<Machine> = (0..HUBS)
        .map(|at| Machine {
            network: Network::troubled(Arc::clone(&log), seed * 31 + at as u64),
            hub: None,
        })
        .collect();
    let mut owners = Owners::default();
    let start = Instant::now();
    while start.elapsed() < TIME {
        if random.u32(..60) == 0 {
            let at = random.usize(..HUBS);
            let machine = &mut machines[at];
            match (random.u8(..6), machine.hub.take()) {
                (_, None) => {
                    started += 1;
                    processes[at] = started;
                    machine.hub = Some(Hub::over(&machine.network, "any"));
                }
                // As a process that is killed: what it has sent can still arrive.
                (0, Some(hub)) => drop(hub),
                (1, Some(hub)) => drop(tokio::spawn(async move { hub.ownership.release().await })),
                (_, Some(hub)) => {
                    machine.network.cut(random.bool());
                    machine.hub = Some(hub);
                }
            }
        }
        owners.check(&machines, &processes);
        sleep(STEP).await;
    }
    // When the network is whole again, there is an owner soon.
    for machine in &mut machines {
        machine.network.heal();
        machine.hub.take();
    }
    machines[0].hub = Some(Hub::over(&machines[0].network, "last"));
    machines[0].hub.as_ref().unwrap().begins().await;
    owners.terms.len()
}

#[test]
fn at_most_one_hub_is_the_owner_at_any_time() {
    let mut terms = 0;
    for seed in 0..RUNS {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        terms += runtime.unwrap().block_on(run(seed));
    }
    // Otherwise it would prove nothing.
    assert!(terms > 2 * usize::try_from(RUNS).unwrap(), "{terms} terms");
}
