//! Failures of single operations of the disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_journal::Disk;

use super::for_seeds;
use super::load::{Stop, World};
use super::sim::{Event, Sim};
use crate::disk::writer::LOOK_EVERY;
use crate::{Create, DiskLog, DiskOptions, Durability, Error, Log as _, Settings, StreamName};

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

/// Creates a stream on a disk that doesn't sync commits, fails the disk after some operations of `work`, and
/// then loses power. Returns `true` if the stream is lost although the work succeeded, and the result.
fn fail_in(after: u64, work: impl FnOnce(&DiskLog) -> Result<(), Error>) -> (bool, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let name = StreamName::new("a").unwrap();
    let disk = Sim::new(after);
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = DiskOptions {
        durability: Durability::Os,
        segment_bytes: 16 << 10,
        reserve_bytes: 0,
        ..DiskOptions::default()
    };
    let log = DiskLog::open_on(&on, None, options.clone()).unwrap();
    let create = Create::new(Settings::of_type("text/plain"));
    runtime.block_on(log.create(&name, create)).unwrap();
    // The background has prepared a segment then, and doesn't take the failure.
    std::thread::sleep(Duration::from_millis(20));
    disk.plan(after, Event::Failure);
    let done = work(&log);
    let lost: Arc<dyn Disk> = Arc::new(disk.copy().after_power_loss());
    let opened = DiskLog::open_on(&lost, None, options).unwrap();
    let is_there = runtime.block_on(opened.info(&name)).is_ok();
    (done.is_ok() && !is_there, done.is_ok())
}

#[test]
fn a_checkpoint_and_a_close_whose_sync_fails_report_it() {
    let close: fn(&DiskLog) -> Result<(), Error> = |log| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(log.close())
    };
    for work in [DiskLog::give_back, close] {
        let mut failed = 0;
        for after in 1..20 {
            let (is_lost, is_ok) = fail_in(after, work);
            assert!(
                !is_lost,
                "it fails after {after} operations and reports success"
            );
            failed += u32::from(!is_ok);
        }
        assert!(failed > 0, "no failure met a sync");
    }
}
