//! Files that are written while commits are made.

use std::sync::Arc;

use fastrand::Rng;
use headwater_journal::{Disk, NewFile, Options, open};

use crate::{seeds, sim::Sim};

const MIB: u64 = 1 << 20;

#[test]
fn a_new_file_is_synced_in_parts_and_durable_at_its_end() {
    for seed in seeds(10) {
        let mut rng = Rng::with_seed(seed);
        let sim = Sim::new(seed);
        let mut file = NewFile::create(&sim, "new").unwrap();
        let mut content = Vec::new();
        let (pieces, most) = (rng.usize(1..40), 200 << 10);
        for _ in 0..pieces {
            let piece = vec![rng.u8(..); rng.usize(1..most)];
            file.write(&piece).unwrap();
            content.extend(piece);
            assert_eq!(file.written(), content.len() as u64);
        }
        file.finish().unwrap();
        assert!(sim.most_synced() < MIB + most as u64);
        Disk::sync(&sim).unwrap();
        assert!(sim.after_power_loss().content("new") == content);
    }
}

#[test]
fn a_segment_is_prepared_by_syncs_of_a_mebibyte() {
    let sim = Sim::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let mut options = Options::default();
    options.segment_bytes = 8 * MIB;
    let (journal, _) = open(&disk, 7, &options, None, |_| true).expect("it is empty");
    // Of 1, 2, 4 and 8 MiB.
    journal.spares().fill(4).unwrap();
    assert_eq!(sim.most_synced(), MIB);
}
