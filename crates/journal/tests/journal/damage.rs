//! Damage to what was written.

use std::sync::Arc;

use fastrand::Rng;
use headwater_journal::{Disk, OpenError, Options, open, segment_name};

use crate::{model::Model, sim::Sim};

#[test]
fn a_flipped_bit_is_reported_or_cuts_off_the_last_frame() {
    let mut rng = Rng::with_seed(5);
    let mut model = Model::default();
    let disk = Sim::new(5);
    let (mut journal, _) = model.open(&disk, true).unwrap();
    for _ in 0..30 {
        assert!(model.append(&mut journal, &mut rng, 1.0));
    }
    drop(journal);
    let full = model.without_demands();
    let (_, found) = full.clone().open(&disk, true).unwrap();
    let (last, _) = found.end.unwrap();
    let [mut reported, mut cut] = [0; 2];
    for number in found.segments {
        let name = segment_name(number);
        let length = disk.content(&name).len();
        for _ in 0..300 {
            let (byte, bit) = (rng.usize(..length), rng.u8(..8));
            disk.flip(&name, byte, bit);
            let mut seen = full.clone();
            match seen.open(&disk.copy(), true) {
                Ok(_) if seen.count() == full.count() => {
                    assert!(byte >= full.end_of(number), "a frame's bit doesn't count");
                }
                Ok(_) => {
                    assert_eq!((number, seen.count()), (last, full.count() - 1));
                    cut += 1;
                }
                Err(OpenError::Damaged { .. }) => reported += 1,
                Err(error) => panic!("{error}"),
            }
            disk.flip(&name, byte, bit);
        }
    }
    assert!(reported > 500 && cut > 0, "{reported} reported, {cut} cut");
}

#[test]
fn a_frame_that_must_exist_is_not_removed_as_a_torn_one() {
    let sim = Sim::new(7);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let mut options = Options::default();
    options.segment_bytes = 16 << 10;
    let mut first = open(&disk, 1, &options, None, |_| true).unwrap().0;
    first.append(b"head", &[b"data"]).unwrap();
    first.sync().unwrap();
    drop(first);
    // The header and the first frame are written at once, so this looks like a torn write.
    sim.flip(&segment_name(1), 5, 0);
    options.required = 1;
    for _ in 0..2 {
        let opened = open(&disk, 1, &options, None, |_| true);
        let missing = OpenError::Missing { first: 1, last: 1 };
        assert_eq!(opened.err().unwrap().to_string(), missing.to_string());
    }
    options.required = 0;
    let (journal, found) = open(&disk, 1, &options, None, |_| true).unwrap();
    assert_eq!((journal.next(), found.frames), (1, 0));
}

#[test]
fn a_segment_from_another_copy_of_the_journal_is_reported() {
    let mut rng = Rng::with_seed(6);
    let mut model = Model::default();
    let disk = Sim::new(6);
    let (mut journal, _) = model.open(&disk, true).unwrap();
    assert!(model.append(&mut journal, &mut rng, 1.0));
    drop(journal);
    // Both copies go on from there and differ in one frame, so that all segments start with frames
    // of the same numbers.
    let copy = disk.copy();
    let mut other = model.clone();
    for (disk, model, data) in [(&disk, &mut model, "one"), (&copy, &mut other, "two")] {
        let mut rng = rng.clone();
        let (mut journal, _) = model.open(disk, true).unwrap();
        assert!(model.append_data(&mut journal, data.as_bytes()));
        for _ in 0..30 {
            assert!(model.append(&mut journal, &mut rng, 1.0));
        }
    }
    let whole = model.without_demands();
    let (_, found) = whole.clone().open(&disk, true).unwrap();
    let (_, others) = other.without_demands().open(&copy, true).unwrap();
    assert_eq!(found, others);
    for number in found.segments.iter().skip(2) {
        let mixed = disk.copy();
        let name = segment_name(*number);
        mixed.replace(&name, copy.content(&name));
        let opened = whole.clone().open(&mixed, true);
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{name}");
    }
    assert!(found.segments.len() > 3);
}
