//! Files of a closed log with single bits that differ from what was written.

use headwater_journal::Disk as _;

use super::for_seeds;
use super::load::{Stop, World};
use crate::Durability;

const FLIPS: usize = 60;

/// Returns `false` if damage was reported.
fn read_all(world: &mut World) -> Result<bool, Stop> {
    let opened = world.open();
    if let Err(error) = opened {
        return match error.is_damaged() {
            true => Ok(false),
            false => Err(Stop::Wrong(format!("{error:?}"))),
        };
    }
    let compared = world.compare(true);
    world.close();
    match compared {
        Err(Stop::Wrong(why)) if why.starts_with("Error(Damaged") => Ok(false),
        compared => compared,
    }
}

#[test]
fn a_flipped_bit_is_reported_or_changes_nothing() {
    for_seeds(5, |seed| {
        let mut world = World::new(seed, Durability::Fsync);
        world.open().unwrap();
        world.work(150).unwrap();
        // Open, most of the newest data is in segments. Closed, its index is in tables.
        let disk = match seed % 2 {
            0 => world.disk.copy(),
            _ => {
                world.close();
                world.disk.clone()
            }
        };
        world.close();
        let model = world.model.clone();
        let mut reported = 0;
        for _ in 0..FLIPS {
            world.disk = disk.copy();
            world.model = model.clone();
            let name = world.rng.choice(disk.list().unwrap()).unwrap();
            let length = disk.content(&name).len();
            if length == 0 {
                continue;
            }
            let (byte, bit) = (world.rng.usize(..length), world.rng.u8(..8));
            world.disk.flip(&name, byte, bit);
            world.note(format!("flip bit {bit} of byte {byte} of {name}"));
            match read_all(&mut world) {
                Ok(true) => {}
                Ok(false) => reported += 1,
                Err(stop) => panic!("seed {seed}, {name}: {stop:?}\n{}", world.trace()),
            }
        }
        assert!(reported > 0);
    });
}
