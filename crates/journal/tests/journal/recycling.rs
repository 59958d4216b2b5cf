//! Segments that are used again.

use fastrand::Rng;
use headwater_journal::segment_name;

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
