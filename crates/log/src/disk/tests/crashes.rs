//! Loss of power, or the end of the process, after any operation of the disk.

use super::for_seeds;
use super::load::{Stop, World};
use super::sim::Event;
use crate::Durability;

/// Number of crashes of one log.
const LIVES: usize = 12;

fn live(world: &mut World) -> Result<(), Stop> {
    for life in 0..LIVES {
        world.note(format!("life {life}"));
        if life > 0 {
            if world.rng.u8(..3) == 0 {
                world.note("only the process ends".into());
                world.disk = world.disk.after_exit();
            } else {
                world.lose_power();
            }
        }
        while let Err(stop) = begin(world) {
            let Stop::Off = stop else { return Err(stop) };
            world.note("the power fails while the log is opened".into());
            world.close();
            world.lose_power();
        }
        let most = [40, 400, 1500][world.rng.usize(..3)];
        world.disk.plan(world.rng.u64(1..most), Event::PowerLoss);
        match world.work(usize::MAX) {
            Err(Stop::Off) => {}
            other => return other,
        }
        world.close();
    }
    Ok(())
}

/// Opens the log, during which the power may fail again.
fn begin(world: &mut World) -> Result<(), Stop> {
    if world.rng.bool() {
        world.disk.plan(world.rng.u64(1..120), Event::PowerLoss);
    }
    let opened = world.open();
    match opened {
        Ok(()) => world.compare(true).map(|_| ()),
        Err(_) if world.disk.is_off() => Err(Stop::Off),
        Err(error) => Err(Stop::Wrong(format!("{error:?}"))),
    }
}

fn lose_power(seed: u64, durability: Durability) {
    let mut world = World::new(seed, durability);
    if let Err(Stop::Wrong(why)) = live(&mut world) {
        panic!("seed {seed}, {why}\n{}", world.trace());
    }
    world.close();
}

#[test]
fn after_a_crash_everything_acknowledged_is_there_once() {
    for_seeds(26, |seed| lose_power(seed, Durability::Fsync));
}

#[test]
fn without_syncs_a_prefix_of_the_commits_is_there_after_a_loss_of_power() {
    for_seeds(12, |seed| lose_power(seed, Durability::Os));
}
