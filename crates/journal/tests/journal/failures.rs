//! Failures of the disk, one for each single operation.

use fastrand::Rng;

use crate::{
    model::Model,
    seeds,
    sim::{Event, Sim},
};

fn fail_each_operation(seed: u64, event: Event, syncs: f64) {
    let run = |failure: Option<u64>| {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::default();
        let disk = Sim::new(seed);
        if let Some(failure) = failure {
            disk.plan(failure, event);
        }
        let opened = model.open(&disk, false);
        let opened = opened.or_else(|_| model.open(&disk, false));
        let (mut journal, _) = opened.expect("it fails only once");
        let mut failures = 0;
        for _ in 0..25 {
            failures += u32::from(!model.append(&mut journal, &mut rng, syncs));
        }
        assert!(failures <= 1, "it fails only once");
        (model, disk, rng)
    };
    let (_, whole, _) = run(None);
    for failure in 1..=whole.operations() {
        let (model, disk, mut rng) = run(Some(failure));
        let at = model.count();
        // In another process, on the same disk.
        let mut same = model.clone();
        let opened = same.open(&disk, false);
        let (mut journal, _) = opened.expect("a failure leaves no damage");
        // If the last frame failed, it can be there all the same.
        assert!(same.count() >= at, "a running journal loses nothing");
        assert!(same.append(&mut journal, &mut rng, 1.0));
        drop(journal);
        let mut lost = same.clone();
        assert!(lost.open(&disk.after_power_loss(), false).is_ok());
        assert_eq!(lost.count(), same.count(), "all of it was synced");
    }
}

#[test]
fn after_a_failure_the_journal_goes_on_and_says_what_it_has() {
    for seed in seeds(2) {
        fail_each_operation(seed, Event::Failure, 1.0);
        fail_each_operation(seed, Event::Full, 1.0);
        fail_each_operation(seed, Event::Failure, 0.4);
    }
}
