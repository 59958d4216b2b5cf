//! Loss of power after each single operation.

use fastrand::Rng;
use headwater_journal::Journal;

use crate::{
    model::Model,
    seeds,
    sim::{Event, Sim},
};

/// Number of frames in a load: enough for some segments.
const FRAMES: usize = 25;

/// Opens the journal and appends, until something fails.
fn load(model: &mut Model, disk: &Sim, rng: &mut Rng, syncs: f64) {
    let is_strict = syncs >= 1.0;
    let Ok((mut journal, _)) = model.open(disk, is_strict) else {
        return;
    };
    // Sometimes the next segment is prepared in time.
    for _ in 0..FRAMES {
        if rng.u8(..8) == 0 && journal.spares().fill(2).is_err() {
            return;
        }
        if !model.append(&mut journal, rng, syncs) {
            return;
        }
    }
}

/// Opens the journal on a disk that works, and appends to it.
fn continue_after(model: &mut Model, disk: &Sim, rng: &mut Rng, is_strict: bool) {
    let opened = model.open(disk, is_strict);
    let (mut journal, _): (Journal, _) = opened.expect("what a crash leaves can be opened");
    for _ in 0..3 {
        assert!(model.append(&mut journal, rng, 1.0));
    }
    drop(journal);
    assert!(model.open(disk, is_strict).is_ok());
}

fn lose_power_after_each_operation(seed: u64, syncs: f64) {
    let run = |crash: Option<u64>| {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::default();
        let disk = Sim::new(seed);
        if let Some(crash) = crash {
            disk.plan(crash, Event::PowerLoss);
        }
        load(&mut model, &disk, &mut rng, syncs);
        (model, disk, rng)
    };
    let (_, whole, _) = run(None);
    for crash in 1..=whole.operations() {
        let (mut model, disk, mut rng) = run(Some(crash));
        let mut disk = disk.after_power_loss();
        // The power also fails while the journal is opened, and again.
        for _ in 0..rng.u8(..3) {
            disk.plan(rng.u64(1..20), Event::PowerLoss);
            load(&mut model, &disk, &mut rng, syncs);
            disk = disk.after_power_loss();
        }
        continue_after(&mut model, &disk, &mut rng, syncs >= 1.0);
    }
}

#[test]
fn after_a_loss_of_power_all_synced_frames_are_there() {
    for seed in seeds(8) {
        lose_power_after_each_operation(seed, 1.0);
    }
}

#[test]
fn without_a_sync_for_each_frame_those_before_the_last_sync_are_there() {
    for seed in seeds(6) {
        lose_power_after_each_operation(seed, 0.3);
    }
}
