//! The comparison with the model: one hub, and two hubs between which requests alternate. Hubs are
//! restarted on the way.

use headwater_log::{Clock, Log};
use headwater_nats::NatsOptions;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::ops::{Subject, cases, compare, few, op};
use crate::servers::Servers;
use crate::support::{Hubs, START, by_hand, open_log, outside};

struct OnCluster {
    options: NatsOptions,
    hubs: Hubs,
    restarts: usize,
}

impl OnCluster {
    fn new(options: NatsOptions, count: usize) -> Self {
        Self {
            hubs: Hubs::new((0..count).map(|_| open_log(&options)).collect()),
            options,
            restarts: 0,
        }
    }
}

impl Subject for OnCluster {
    fn log(&self) -> &dyn Log {
        &self.hubs
    }

    fn settle(&self) {
        self.hubs.settle();
    }

    fn restart(&mut self) {
        // Every other hub is closed, and the others are dropped.
        let index = self.restarts % self.hubs.hubs.len();
        let old = self.hubs.hubs.swap_remove(index);
        if self.restarts.is_multiple_of(2) {
            outside(old.close()).unwrap();
        }
        drop(old);
        self.hubs.hubs.push(open_log(&self.options));
        self.restarts += 1;
    }
}

#[test]
fn hubs_on_a_cluster_behave_like_the_model() {
    let Some(servers) = Servers::one() else {
        return;
    };
    let mut runner = TestRunner::new(cases(40));
    let cases = (prop::collection::vec(op(), 1..60), 1..=2_usize);
    let compared = runner.run(&cases, |(ops, count)| {
        let clock = Clock::by_hand(START);
        let options = by_hand(&servers, &clock, few());
        compare(&mut OnCluster::new(options, count), &clock, &ops);
        Ok(())
    });
    compared.unwrap();
}
