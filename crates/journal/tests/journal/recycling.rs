//! Segments that are used again.

use std::sync::Arc;

use fastrand::Rng;
use headwater_journal::{Disk, Options, open, segment_name};

use crate::{model::Model, seeds, sim::Sim};

#[test]
fn frames_of_an_earlier_use_of_a_file_are_not_taken_for_new_ones() {
    for seed in seeds(20) {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::default();
        let mut disk = Sim::new(seed);
        for _ in 0..20 {
            let (mut journal, found) = model.open(&disk, true).expect("it is whole");
            for number in model.older(&found) {
                let bytes = disk.content(&segment_name(number)).len() as u64;
                journal.spares().retire(number, bytes).unwrap();
            }
            for _ in 0..rng.usize(..12) {
                assert!(model.append(&mut journal, &mut rng, 1.0));
            }
            drop(journal);
            if rng.bool() {
                disk = disk.after_power_loss();
            }
        }
        assert!(model.count() > 50);
    }
}

#[test]
fn four_segments_that_are_given_up_at_once_are_used_again_without_zeros() {
    const BYTES: u64 = 8 << 10;
    let sim = Sim::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let mut options = Options::default();
    options.segment_bytes = BYTES;
    let (mut journal, _) = open(&disk, 7, &options, None, |_| true).expect("it is empty");
    let mut used = Vec::new();
    while used.len() < 5 {
        let place = journal.append(b"head", &[&[1; 3000]]).unwrap();
        journal.sync().unwrap();
        if used.last() != Some(&place.segment) {
            used.push(place.segment);
        }
    }
    let spares = journal.spares();
    for number in &used[..4] {
        spares.retire(*number, BYTES).unwrap();
    }
    spares.fill(5).unwrap();
    let has_zeros = |number| {
        let content = sim.content(&segment_name(number));
        content.iter().all(|byte| *byte == 0)
    };
    let made: Vec<bool> = (used[4] + 1..=used[4] + 5).map(has_zeros).collect();
    assert_eq!(made.iter().filter(|is_new| **is_new).count(), 1, "{made:?}");
}
