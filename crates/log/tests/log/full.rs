//! No space: appends are refused, reads still work, and the log recovers by itself.

use std::time::{Duration, Instant};

use headwater_log::{
    Append, Clock, DiskLog, Durability, Limits, Log, MemoryLog, MemoryOptions, Outcome,
};

use crate::support::{all, append, name, options, plain, run};

#[test]
fn a_log_in_memory_respects_its_limit_and_has_room_after_a_deletion() {
    let mut options = MemoryOptions::default();
    options.max_bytes = 4000;
    let log = MemoryLog::new(options);
    run(async {
        let (kept, freed) = (name("kept"), name("freed"));
        log.create(&kept, plain()).await.unwrap();
        log.create(&freed, plain()).await.unwrap();
        append(&log, &kept, &["kept"]).await;
        let message = || Append::new(vec![vec![b'm'; 300].into()]);
        let mut count = 0;
        let error = loop {
            match log.append(&freed, message()).await {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(
            error.is_storage_full() && !error.is_outcome_unknown(),
            "{error:?}"
        );
        assert!((5..12).contains(&count), "{count}");
        assert_eq!(all(&log, &freed).await.len(), count);
        assert!(
            log.append(&kept, message())
                .await
                .unwrap_err()
                .is_storage_full()
        );
        assert!(
            log.create(&name("x"), plain())
                .await
                .unwrap_err()
                .is_storage_full()
        );
        log.delete(&freed).await.unwrap();
        assert!(log.append(&kept, message()).await.is_ok());
    });
}

/// Repeats an append until it is accepted, for at most ten seconds.
fn until_taken(log: &DiskLog, append: impl Fn() -> Append) -> Duration {
    let started = Instant::now();
    loop {
        match run(log.append(&name("s"), append())) {
            Ok(outcome) => {
                assert!(matches!(
                    outcome,
                    Outcome::Appended(_) | Outcome::Duplicate(_)
                ));
                return started.elapsed();
            }
            Err(error) => assert!(started.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn appends_are_refused_below_the_reserve_and_accepted_again_above_it() {
    // A small file system in memory, which the test can fill.
    let Some(disk) = SmallDisk::new(160 << 20) else {
        // If no file system can be mounted here, a reserve that no disk has is tested instead.
        return refused_by_the_reserve_alone();
    };
    let mut settings = options(&Clock::system(), Limits::default());
    settings.durability = Durability::Fsync;
    settings.reserve_bytes = 60 << 20;
    settings.segment_bytes = 8 << 20;
    let log = DiskLog::open(disk.path().join("log"), settings).unwrap();
    run(log.create(&name("s"), plain())).unwrap();
    run(append(&log, &name("s"), &["first"]));
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 120 << 20]).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let more = || Append::new(vec!["more".into()]);
    for _ in 0..3 {
        let error = run(log.append(&name("s"), more())).unwrap_err();
        assert!(
            error.is_storage_full() && !error.is_outcome_unknown(),
            "{error:?}"
        );
        assert!(
            run(log.create(&name("t"), plain()))
                .unwrap_err()
                .is_storage_full()
        );
        assert_eq!(run(all(&log, &name("s"))), ["first"]);
    }
    // Requests that don't make the log grow still work.
    run(log.touch(&name("s"))).unwrap();
    std::fs::remove_file(&filler).unwrap();
    until_taken(&log, more);
    assert_eq!(run(all(&log, &name("s"))), ["first", "more"]);
}

#[test]
fn a_disk_that_fills_up_during_a_commit_loses_nothing_acknowledged() {
    let Some(disk) = SmallDisk::new(100 << 20) else {
        return refused_by_the_reserve_alone();
    };
    let mut settings = options(&Clock::system(), Limits::default());
    settings.durability = Durability::Fsync;
    // Without a reserve, the disk itself fails.
    settings.reserve_bytes = 0;
    settings.segment_bytes = 8 << 20;
    let open = || DiskLog::open(disk.path().join("log"), settings.clone()).unwrap();
    let log = open();
    run(log.create(&name("s"), plain())).unwrap();
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 88 << 20]).unwrap();
    let by = |seq: u64| {
        let mut text = format!("{seq} ").into_bytes();
        text.resize(500_000, b'.');
        Append::new(vec![text.into()]).by("p", 0, seq)
    };
    let mut taken = 0;
    let error = loop {
        match run(log.append(&name("s"), by(taken))) {
            Ok(outcome) => {
                assert!(matches!(outcome, Outcome::Appended(_)));
                taken += 1;
            }
            Err(error) => break error,
        }
        assert!(taken < 100, "the disk fills up");
    };
    assert!(
        error.is_storage_full() || error.is_outcome_unknown(),
        "{error:?}"
    );
    assert!(taken > 0);
    let read = run(all(&log, &name("s")));
    assert_eq!(read.len() as u64, taken, "reading goes on");
    std::fs::remove_file(&filler).unwrap();
    // The producer repeats the append with the unknown outcome. It is stored once.
    until_taken(&log, || by(taken));
    let check = |log: &DiskLog| {
        let texts = run(all(log, &name("s")));
        assert_eq!(texts.len() as u64, taken + 1);
        for (seq, text) in texts.iter().enumerate() {
            assert!(text.starts_with(&format!("{seq} ")));
        }
    };
    check(&log);
    drop(log);
    check(&open());
}

/// With a reserve that no disk has, every request that makes the log grow is refused.
fn refused_by_the_reserve_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = options(&Clock::system(), Limits::default());
    settings.reserve_bytes = u64::MAX;
    let log = DiskLog::open(folder.path(), settings).unwrap();
    let error = run(log.create(&name("s"), plain())).unwrap_err();
    assert!(error.is_storage_full(), "{error:?}");
}

/// A small file system in memory.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={bytes}"),
                "headwater-log-test",
            ])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(folder))
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a log may still be closing.
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}
