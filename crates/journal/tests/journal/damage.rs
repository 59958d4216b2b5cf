//! Damage to what was written.

use fastrand::Rng;
use headwater_journal::{OpenError, segment_name};

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
    let [mut reported, mut cut, mut unused] = [0; 3];
    for number in found.segments {
        let name = segment_name(number);
        let length = disk.content(&name).len();
        for _ in 0..300 {
            let (byte, bit) = (rng.usize(..length), rng.u8(..8));
            disk.flip(&name, byte, bit);
            let mut seen = full.clone();
            match seen.open(&disk.copy(), true) {
                // It was behind the last frame of its segment.
                Ok(_) if seen.count() == full.count() => unused += 1,
                Ok(_) => {
                    assert_eq!((number, seen.count()), (last, full.count() - 1));
                    cut += 1;
                }
                Err(OpenError::Damaged { .. }) => reported += 1,
                Err(OpenError::Disk(error)) => panic!("{error}"),
            }
            disk.flip(&name, byte, bit);
        }
    }
    assert!(
        reported > 500 && cut > 0 && unused < 60,
        "{reported} reported, {cut} cut, {unused} in unused parts"
    );
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
