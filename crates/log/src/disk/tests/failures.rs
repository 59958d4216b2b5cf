//! Failures of single operations of the disk.

use std::time::{Duration, Instant};

use super::for_seeds;
use super::load::{Stop, World};
use super::sim::Event;
use crate::disk::writer::LOOK_EVERY;
use crate::{Durability, Log as _};

/// Number of failures of one log.
const FAILURES: usize = 10;

fn live(world: &mut World) -> Result<(), Stop> {
    world.open().unwrap();
    for _ in 0..FAILURES {
        let event = [Event::Failure, Event::Full][world.rng.usize(..2)];
        let after = world.rng.u64(1..300);
        world.disk.plan(after, event);
        world.note(format!("{event:?} in {after} operations"));
        world.can_fail = true;
        let planned = world.disk.operations() + after;
        while world.disk.operations() < planned {
            world.work(1)?;
        }
        // The operation can be one of the background.
        world.work(3)?;
        world.can_fail = false;
        recover(world)?;
        world.compare(false)?;
        world.work(10)?;
        if world.rng.bool() {
            world.close();
            world.open().unwrap();
            world.compare(true)?;
        }
        if world.rng.u8(..3) == 0 {
            let (disk, model) = (world.disk.copy(), world.model.clone());
            world.close();
            world.disk = disk.after_power_loss();
            world.model = model;
            world.open().unwrap();
            world.compare(true)?;
        }
    }
    Ok(())
}

/// Waits until the log accepts appends again.
fn recover(world: &World) -> Result<(), String> {
    let started = Instant::now();
    let log = world.log.as_ref().unwrap();
    while let Err(error) = log.writable() {
        if started.elapsed() > Duration::from_secs(10) {
            return Err(format!("the log stays unavailable: {error:?}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // The free space is looked at in intervals.
    std::thread::sleep(LOOK_EVERY);
    Ok(())
}

#[test]
fn a_failure_of_the_disk_loses_nothing_and_is_overcome() {
    for_seeds(7, |seed| {
        let mut world = World::new(seed, Durability::Fsync);
        if let Err(stop) = live(&mut world) {
            panic!("seed {seed}, {stop:?}\n{}", world.trace());
        }
        world.close();
    });
}
