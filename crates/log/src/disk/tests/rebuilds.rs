//! Files of the index, of the catalog or of the manifest that are damaged or missing, and a rebuild
//! during which the power may fail.

use std::sync::Arc;

use headwater_journal::Disk;

use super::for_seeds;
use super::load::{Stop, World};
use super::sim::Event;
use crate::Durability;
use crate::disk::rebuild::{Rebuilt, rebuild};

/// Number of rebuilds of one log.
const LIVES: usize = 6;

/// Damages or removes one file of a kind, or all. Returns `false` if there is none.
fn harm(world: &mut World, kind: &str) -> bool {
    let mut names = world.disk.list().unwrap();
    names.retain(|name| name.ends_with(kind));
    if world.rng.bool() {
        names = world.rng.choice(names).into_iter().collect();
    }
    for name in &names {
        let length = world.disk.content(name).len();
        if world.rng.bool() {
            world.disk.remove(name).unwrap();
        } else {
            let (byte, bit) = (world.rng.usize(..length), world.rng.u8(..8));
            world.disk.flip(name, byte, bit);
        }
    }
    world.note(format!("harm {names:?}"));
    !names.is_empty()
}

fn rebuilt(world: &mut World) -> Result<Rebuilt, Stop> {
    loop {
        if world.rng.bool() {
            world.disk.plan(world.rng.u64(1..40), Event::PowerLoss);
        }
        let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
        let rebuilt = rebuild(&disk);
        world.note(format!("rebuild: {rebuilt:?}"));
        match rebuilt {
            Ok(_) if world.disk.is_off() => {}
            Ok(rebuilt) => {
                world.disk = world.disk.after_exit();
                return Ok(rebuilt);
            }
            Err(_) if world.disk.is_off() => {}
            Err(error) => return Err(Stop::Wrong(format!("{error:?}"))),
        }
        world.disk = world.disk.after_power_loss();
    }
}

fn live(world: &mut World) -> Result<(), Stop> {
    for life in 0..LIVES {
        world.note(format!("life {life}"));
        world.open().map_err(|error| format!("{error:?}"))?;
        world.compare(true)?;
        world.work(80)?;
        if world.rng.bool() {
            world.close();
        } else {
            // As a killed process leaves it.
            let disk = world.disk.copy();
            world.close();
            world.disk = disk;
        }
        let harms_index = world.rng.bool();
        let is_harmed = harm(world, if harms_index { ".idx" } else { ".cat" });
        let manifest = [None, Some("manifest"), Some(".copy")][world.rng.usize(..3)];
        if let Some(manifest) = manifest {
            harm(world, manifest);
        }
        let rebuilt = rebuilt(world)?;
        if is_harmed && rebuilt.is_catalog && harms_index {
            return Err(Stop::Wrong(format!("{rebuilt:?}")));
        }
    }
    world.open().map_err(|error| format!("{error:?}"))?;
    world.compare(true).map(|_| ())
}

#[test]
fn the_index_or_the_catalog_is_rebuilt_from_the_rest() {
    for_seeds(8, |seed| {
        let mut world = World::new(seed, Durability::Fsync);
        if let Err(stop) = live(&mut world) {
            panic!("seed {seed}, {stop:?}\n{}", world.trace());
        }
        world.close();
    });
}
