//! The ends of streams in the order of all streams: each is reported once, at its position,
//! whatever the cause.

use std::sync::Arc;
use std::time::Duration;

use headwater_log::{
    Clock, Create, DiskLog, EndCause, Expiry, Limits, Log, Matching, MemoryLog, MemoryOptions,
    Offset, OrderChunk, Position, Settings,
};

use crate::support::{
    START, append, every_engine, every_engine_with, every_process_with, fork_of, name, options,
    plain, quick_folder, run,
};

fn read(log: &dyn Log, from: u64) -> OrderChunk {
    run(log.read_order(Position::new(from), usize::MAX, None)).unwrap()
}

/// Returns ends as text: position, stream and cause of each.
fn told(chunk: &OrderChunk) -> Vec<String> {
    let ends = chunk.ended.iter();
    ends.map(|end| {
        let cause = match end.cause {
            EndCause::Deleted => "deleted",
            EndCause::Expired => "expired",
            EndCause::Restored => "restored",
        };
        format!("{} {} {cause}", end.position.number(), end.stream)
    })
    .collect()
}

fn positions(chunk: &OrderChunk) -> Vec<u64> {
    let entries = chunk.entries.iter();
    entries.map(|entry| entry.position.number()).collect()
}

fn idle(span: Duration) -> Create {
    let mut settings = Settings::of_type("text/plain");
    settings.expiry = Some(Expiry::Idle(span));
    Create::new(settings)
}

#[test]
fn a_deletion_has_its_own_position_after_all_messages_of_the_stream() {
    every_engine(|log, clock, settle| {
        let (a, b) = (name("a"), name("b"));
        run(log.create(&a, plain())).unwrap();
        run(log.create(&b, plain())).unwrap();
        run(append(log, &a, &["1", "2"]));
        run(append(log, &b, &["3"]));
        let tail = run(log.info(&a)).unwrap().at(Offset::new(2));
        clock.advance(Duration::from_secs(5));
        run(log.delete(&a)).unwrap();
        let receipt = run(append(log, &b, &["4"]));
        assert_eq!(receipt.position.number(), 5);
        settle();
        let chunk = read(log, 0);
        assert_eq!(positions(&chunk), [2, 4]);
        assert_eq!(told(&chunk), ["3 a deleted"]);
        assert_eq!(chunk.ended[0].tail, tail);
        assert_eq!(chunk.ended[0].time, START.after(Duration::from_secs(5)));
        assert_eq!((chunk.next.number(), chunk.at_head), (5, true));
        assert_eq!(told(&read(log, 3)), ["3 a deleted"]);
        assert!(told(&read(log, 4)).is_empty());
        let matching =
            |wanted: &'static str| -> Matching { Arc::new(move |name| name.as_str() == wanted) };
        let read = |budget, wanted| {
            run(log.read_order(Position::START, budget, Some(matching(wanted)))).unwrap()
        };
        assert_eq!(told(&read(999, "a")), ["3 a deleted"]);
        assert!(told(&read(999, "b")).is_empty());
        // A read that stops before the end of a stream leaves it to the next read.
        let first = read(0, "b");
        assert_eq!((positions(&first), first.next.number()), (vec![2], 4));
    });
}

#[test]
fn an_end_that_exceeds_the_budget_is_left_to_the_next_read() {
    every_engine(|log, _, _| {
        for n in 0..5 {
            let stream = name(&format!("s/{n}"));
            run(log.create(&stream, plain())).unwrap();
            run(append(log, &stream, &["x"]));
            run(log.delete(&stream)).unwrap();
        }
        let (mut next, mut found) = (Position::START, Vec::new());
        for _ in 0..5 {
            let chunk = run(log.read_order(next, 0, None)).unwrap();
            assert_eq!(chunk.ended.len(), 1);
            found.extend(told(&chunk));
            next = chunk.next;
        }
        let expected: Vec<_> = (0..5)
            .map(|n| format!("{} s/{n} deleted", 2 * n + 1))
            .collect();
        assert_eq!(found, expected);
        assert!(run(log.read_order(next, 0, None)).unwrap().at_head);
    });
}

#[test]
fn an_expiry_is_reported_once() {
    every_engine(|log, clock, settle| {
        let (unused, touched, replaced) = (name("a"), name("b"), name("c"));
        for stream in [&unused, &touched, &replaced] {
            run(log.create(stream, idle(Duration::from_secs(60)))).unwrap();
        }
        clock.advance(Duration::from_secs(61));
        assert!(run(log.touch(&touched)).unwrap_err().is_not_found());
        assert!(run(log.create(&replaced, plain())).unwrap().is_new);
        assert!(run(log.delete(&touched)).is_err());
        for _ in 0..2 {
            settle();
            let mut found: Vec<_> = told(&read(log, 0))
                .iter()
                .map(|end| end[2..].to_owned())
                .collect();
            found.sort();
            assert_eq!(found, ["a expired", "b expired", "c expired"]);
        }
        assert_eq!(log.usage().head.number(), 3);
    });
}

#[test]
fn a_stream_hidden_for_its_forks_ends_once_when_it_is_deleted() {
    every_engine(|log, _, settle| {
        let (source, fork) = (name("source"), name("fork"));
        run(log.create(&source, plain())).unwrap();
        run(append(log, &source, &["1"]));
        run(log.create(&fork, fork_of(&source))).unwrap();
        run(log.delete(&source)).unwrap();
        assert_eq!(told(&read(log, 0)), ["1 source deleted"]);
        assert!(run(log.delete(&source)).unwrap_err().is_gone());
        run(log.delete(&fork)).unwrap();
        settle();
        assert_eq!(told(&read(log, 0)), ["1 source deleted", "2 fork deleted"]);
    });
}

#[test]
fn an_end_wakes_a_follower_of_the_order() {
    every_engine(|log, clock, settle| {
        run(log.create(&name("a"), plain())).unwrap();
        run(log.create(&name("b"), idle(Duration::from_secs(60)))).unwrap();
        let mut follower = log.follow_order();
        let seen = follower.head();
        run(log.delete(&name("a"))).unwrap();
        let seen = run(follower.past(seen)).unwrap();
        assert_eq!(seen.number(), 1);
        clock.advance(Duration::from_secs(61));
        settle();
        assert_eq!(run(follower.past(seen)).unwrap().number(), 2);
    });
}

fn three() -> Limits {
    let mut limits = Limits::default();
    limits.ended = 3;
    limits
}

#[test]
fn only_the_newest_ends_are_kept_and_dropped_ones_are_reported() {
    every_engine_with(three(), |log, _, settle| {
        let keeper = name("keeper");
        run(log.create(&keeper, plain())).unwrap();
        for n in 0..3 {
            let stream = name(&format!("s/{n}"));
            run(log.create(&stream, plain())).unwrap();
            run(log.delete(&stream)).unwrap();
            run(append(log, &keeper, &["x"]));
        }
        assert_eq!(read(log, 0).forgotten, None);
        for n in 3..5 {
            let stream = name(&format!("s/{n}"));
            run(log.create(&stream, plain())).unwrap();
            run(log.delete(&stream)).unwrap();
        }
        settle();
        // The ends had the positions 0, 2, 4, 6 and 7.
        let all = read(log, 0);
        assert_eq!(
            told(&all),
            ["4 s/2 deleted", "6 s/3 deleted", "7 s/4 deleted"]
        );
        for from in 0..3 {
            assert_eq!(read(log, from).forgotten, Some(Position::new(2)));
        }
        assert_eq!(read(log, 3).forgotten, None);
        // Also if nothing else matches, and not before its position.
        let nothing: Matching = Arc::new(|_| false);
        let chunk = run(log.read_order(Position::START, 9, Some(nothing))).unwrap();
        assert_eq!(chunk.forgotten, Some(Position::new(2)));
        let first = run(log.read_order(Position::START, 0, None)).unwrap();
        assert_eq!((positions(&first), first.next.number()), (vec![1], 3));
        assert_eq!(first.forgotten, Some(Position::new(2)));
    });
}

#[test]
fn more_ends_in_one_commit_than_are_kept_leave_the_newest() {
    every_process_with(three(), |log, _, _| {
        let names: Vec<_> = (0..6).map(|n| name(&format!("s/{n}"))).collect();
        for stream in &names {
            run(log.create(stream, plain())).unwrap();
        }
        run(async {
            // All of these are one commit, or two.
            let deleted = tokio::join!(
                log.delete(&names[0]),
                log.delete(&names[1]),
                log.delete(&names[2]),
                log.delete(&names[3]),
                log.delete(&names[4]),
                log.delete(&names[5]),
            );
            let (a, b, c, d, e, f) = deleted;
            assert!([a, b, c, d, e, f].iter().all(Result::is_ok));
        });
        let chunk = read(log, 0);
        let expected = ["3 s/3 deleted", "4 s/4 deleted", "5 s/5 deleted"];
        assert_eq!(told(&chunk), expected);
        assert_eq!(chunk.forgotten, Some(Position::new(2)));
    });
}

#[test]
fn ends_never_fill_a_small_log_in_memory() {
    let mut options = MemoryOptions::default();
    options.max_bytes = 16 << 10;
    let log = MemoryLog::new(options);
    let stream = name("comes/and/goes");
    for _ in 0..1000 {
        run(log.create(&stream, plain())).unwrap();
        run(log.delete(&stream)).unwrap();
    }
    let chunk = read(&log, 0);
    let kept = chunk.ended.len();
    assert!((5..20).contains(&kept), "{kept}");
    let newest_gone = Position::new(999 - kept as u64);
    assert_eq!(chunk.forgotten, Some(newest_gone));
}

#[test]
fn a_restart_keeps_ends_and_reuses_no_position() {
    let folder = quick_folder();
    let clock = Clock::by_hand(START);
    let open = |limit| {
        let mut limits = Limits::default();
        limits.ended = limit;
        let mut options = options(&clock, limits);
        // Makes checkpoints frequent, which remove the entries of commits.
        options.checkpoint_bytes = 1;
        DiskLog::open(folder.path(), options).unwrap()
    };
    let end = |log: &DiskLog, stream: &str| {
        run(log.create(&name(stream), plain())).unwrap();
        run(append(log, &name(stream), &["x"]));
        run(log.delete(&name(stream))).unwrap();
        while log.reclaim().unwrap() {}
    };
    let log = open(99);
    for stream in ["a", "b", "c"] {
        end(&log, stream);
    }
    run(log.create(&name("short"), idle(Duration::from_secs(60)))).unwrap();
    let before = read(&log, 0);
    drop(log);
    // A stream that expired meanwhile is found when the log is opened.
    clock.advance(Duration::from_secs(70));
    let log = open(99);
    assert_eq!(read(&log, 0).ended[..3], before.ended);
    while log.reclaim().unwrap() {}
    assert_eq!(
        told(&read(&log, 0)),
        [
            "1 a deleted",
            "3 b deleted",
            "5 c deleted",
            "6 short expired"
        ]
    );
    run(log.create(&name("d"), plain())).unwrap();
    assert_eq!(run(append(&log, &name("d"), &["x"])).position.number(), 8);
    drop(log);
    // With a lower limit, old ends are dropped with the next new one.
    let log = open(2);
    assert_eq!(read(&log, 0).ended.len(), 4);
    end(&log, "e");
    let chunk = read(&log, 0);
    assert_eq!(told(&chunk), ["6 short expired", "9 e deleted"]);
    assert_eq!(chunk.forgotten, Some(Position::new(5)));
    drop(log);
    let log = open(2);
    assert_eq!(read(&log, 0), chunk);
}
