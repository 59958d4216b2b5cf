//! A clock that jumps: it expires no stream and timestamps no message, and the log recovers from
//! it.

use std::time::Duration;

use headwater_log::{
    CLOCK_SETTLED_AFTER, Create, DiskLog, Expiry, Limits, Log, Settings, Timestamp,
};

use crate::support::{START, all, append, every_engine, name, options, plain, run};

const DAYS: Duration = Duration::from_secs(400 * 24 * 3600);

fn idle(seconds: u64) -> Create {
    let mut settings = Settings::of_type("x");
    settings.expiry = Some(Expiry::Idle(Duration::from_secs(seconds)));
    Create::new(settings)
}

#[test]
fn a_jump_that_is_undone_expires_no_stream_and_timestamps_no_message() {
    every_engine(|log, clock, settle| {
        let (before, during) = (name("before"), name("during"));
        run(log.create(&before, idle(3600))).unwrap();
        clock.set(START.after(DAYS));
        settle();
        assert!(log.warnings()[0].contains("jumped"), "{:?}", log.warnings());
        run(log.create(&during, plain())).unwrap();
        run(append(log, &during, &["m"]));
        clock.advance(Duration::from_secs(60));
        clock.set(START.after(Duration::from_secs(60)));
        settle();
        assert_eq!(log.warnings(), Vec::<String>::new());
        run(log.info(&before)).unwrap();
        let info = run(log.info(&during)).unwrap();
        assert_eq!((info.created, info.appended), (START, START));
    });
}

#[test]
fn times_from_a_wrong_clock_are_corrected_once_it_is_right() {
    every_engine(|log, clock, settle| {
        let (stream, aged) = (name("idle"), name("aged"));
        let later = |seconds| {
            clock.advance(Duration::from_secs(seconds));
            settle();
        };
        let ahead = START.after(DAYS);
        clock.set(ahead);
        settle();
        later(CLOCK_SETTLED_AFTER.as_secs());
        // The clock is accepted: new messages have its time.
        run(log.create(&stream, idle(3600))).unwrap();
        assert!(run(log.info(&stream)).unwrap().created > ahead);
        let mut settings = Settings::of_type("x");
        settings.max_age = Some(Duration::from_secs(3600));
        run(log.create(&aged, Create::new(settings))).unwrap();
        run(append(log, &aged, &["ahead"]));
        clock.set(START);
        settle();
        later(CLOCK_SETTLED_AFTER.as_secs());
        run(append(log, &aged, &["right"]));
        assert!(run(log.info(&aged)).unwrap().appended < ahead);
        assert_eq!(run(all(log, &aged)), ["ahead", "right"]);
        later(3500);
        run(log.info(&stream)).unwrap();
        later(200);
        assert!(run(log.info(&stream)).unwrap_err().is_not_found());
        later(3600);
        assert!(run(all(log, &aged)).is_empty());
    });
}

#[test]
fn a_log_opened_with_the_right_clock_ignores_times_in_the_future() {
    let folder = tempfile::tempdir().unwrap();
    let clock = headwater_log::Clock::by_hand(START.after(DAYS));
    let open = || DiskLog::open(folder.path(), options(&clock, Limits::default())).unwrap();
    let stream = name("idle");
    let log = open();
    run(log.create(&stream, idle(3600))).unwrap();
    drop(log);
    clock.set(START);
    let log = open();
    assert!(log.warnings()[0].contains("behind"), "{:?}", log.warnings());
    while log.reclaim().unwrap() {}
    let expires = run(log.info(&stream)).unwrap().expires.unwrap();
    assert!(expires <= Timestamp(START.0 + 3600 * 1000), "{expires:?}");
    clock.advance(Duration::from_secs(3601));
    while log.reclaim().unwrap() {}
    assert!(run(log.info(&stream)).unwrap_err().is_not_found());
    run(log.create(&name("new"), plain())).unwrap();
    assert!(run(log.info(&name("new"))).unwrap().created < START.after(DAYS));
}
