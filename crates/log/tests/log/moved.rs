//! Streams that were in another log continue here as they would have there.

use std::time::Duration;

use headwater_log::{
    Append, Clock, Create, EndCause, Expiry, Identity, Image, Limits, Log, Mark, MemoryLog,
    Message, Offset, Outcome, Position, Producer, ProducerImage, ReadFrom, Refusal, Restore,
    Restored, Settings, StreamName, limits,
};

use crate::ops::memory;
use crate::support::{
    START, all, append, every_engine, every_engine_with, fork_of, name, plain, run,
};

/// The steps that restore a stream.
async fn steps(from: &dyn Log, stream: &StreamName) -> Vec<Restore> {
    let (image, producers) = from.image(stream).await.unwrap();
    let chunk = from
        .read(stream, ReadFrom::Start, usize::MAX)
        .await
        .unwrap();
    let messages: Vec<_> = chunk.messages().collect();
    let (first, last) = messages.split_at(messages.len() / 2);
    let some = |some: &[Message], at| Restore::Messages {
        at,
        times: some.iter().map(|message| message.time).collect(),
        messages: some.iter().map(|message| message.bytes.clone()).collect(),
    };
    let middle = last.first().map_or(chunk.next, |message| message.offset);
    vec![
        Restore::Producers(producers),
        some(first, image.floor),
        some(last, middle),
        Restore::End,
        Restore::Begin(Box::new(image)),
    ]
}

async fn restore(log: &dyn Log, stream: &StreamName, mut steps: Vec<Restore>) -> Restored {
    steps.rotate_right(1);
    let mut last = None;
    for step in steps {
        last = Some(log.restore(stream, step).await.unwrap());
    }
    last.unwrap()
}

async fn image(log: &dyn Log, stream: &StreamName) -> Box<Image> {
    Box::new(log.image(stream).await.unwrap().0)
}

/// A log with a stream of two producers, whose messages have several times.
async fn original() -> (MemoryLog, Clock) {
    let clock = Clock::by_hand(START);
    let log = memory(&clock, Identity::random());
    let stream = name("s");
    let mut settings = Settings::of_type("application/json");
    settings.note = "note".into();
    settings.expiry = Some(Expiry::Idle(Duration::from_secs(100)));
    log.create(&stream, Create::new(settings)).await.unwrap();
    for seq in 0..3 {
        clock.advance(Duration::from_secs(1));
        let messages = vec![format!("{seq}").into(), format!("{seq}.").into()];
        let mut append = Append::new(messages).by("p", 4, seq);
        append.seq = Some(seq.to_string());
        log.append(&stream, append).await.unwrap();
    }
    let other = Append::new(vec!["q".into()]).by("q", 0, 0);
    log.append(&stream, other).await.unwrap();
    (log, clock)
}

#[test]
fn a_restored_stream_continues_as_the_original() {
    every_engine(|log, clock, _| {
        run(async {
            let stream = name("s");
            let (from, time) = original().await;
            clock.advance(Duration::from_secs(50));
            time.advance(Duration::from_secs(50));
            let before = from.info(&stream).await.unwrap();
            let done = restore(log, &stream, steps(&from, &stream).await).await;
            assert_eq!((done.tail, done.complete), (before.tail, true));
            // Readers of the order that were past its messages are told.
            let order = log.read_order(Position::START, usize::MAX, None).await;
            let ends = order.unwrap().ended;
            let ends: Vec<_> = ends.iter().map(|end| (end.cause, end.tail.at)).collect();
            assert_eq!(ends, [(EndCause::Restored, before.tail)]);
            let mut copy = log.image(&stream).await.unwrap();
            // Its own incarnation.
            copy.0.marks.pop();
            assert_eq!(copy, from.image(&stream).await.unwrap());

            let info = log.info(&stream).await.unwrap();
            assert_eq!(
                (info.created, info.appended),
                (before.created, before.appended)
            );
            assert_eq!((&info.settings, info.tail), (&before.settings, before.tail));
            // The move is a use.
            assert_eq!(
                info.expires,
                Some(clock.now().after(Duration::from_secs(100)))
            );
            let chunk = log
                .read(&stream, ReadFrom::Start, usize::MAX)
                .await
                .unwrap();
            let messages = from
                .read(&stream, ReadFrom::Start, usize::MAX)
                .await
                .unwrap();
            assert!(chunk.messages().eq(messages.messages()));
            let since = ReadFrom::Since(START.after(Duration::from_secs(2)));
            let later = log.read(&stream, since, usize::MAX).await.unwrap();
            assert_eq!(later.from, Offset::new(2));
            let order = log
                .read_order(Position::START, usize::MAX, None)
                .await
                .unwrap();
            assert_eq!(order.entries.len(), 7);

            // A repetition is a duplicate, an old epoch is fenced, and the next number is accepted.
            let again = |messages: Vec<bytes::Bytes>, epoch, seq| {
                log.append(&stream, Append::new(messages).by("p", epoch, seq))
            };
            let repeated = again(vec!["1".into(), "1.".into()], 4, 1).await.unwrap();
            assert!(matches!(repeated, Outcome::Duplicate(_)), "{repeated:?}");
            let reused = again(vec!["other".into()], 4, 1).await.unwrap();
            assert!(matches!(reused, Outcome::Refused(Refusal::Reused { .. })));
            let stale = again(vec!["x".into()], 3, 0).await.unwrap();
            assert_eq!(stale, Outcome::Refused(Refusal::StaleEpoch { current: 4 }));
            let mut regressed = Append::new(vec!["x".into()]);
            regressed.seq = Some("2".into());
            let regressed = log.append(&stream, regressed).await.unwrap();
            assert!(matches!(
                regressed,
                Outcome::Refused(Refusal::SeqRegression { .. })
            ));
            let next = again(vec!["next".into()], 4, 3).await.unwrap();
            assert!(matches!(next, Outcome::Appended(_)), "{next:?}");

            // Marks of the original are valid up to its tail, and those after it are others.
            let info = log.info(&stream).await.unwrap();
            for at in 0..=7 {
                let mark = before.at(Offset::new(at));
                assert_eq!(info.lineage.find(mark), Some(Offset::new(at)));
            }
            append(&from, &stream, &["elsewhere"]).await;
            let there = from.info(&stream).await.unwrap().at(Offset::new(8));
            assert_eq!(info.lineage.find(there), None);
        });
    });
}

#[test]
fn an_incomplete_stream_can_only_be_continued_or_deleted() {
    every_engine(|log, clock, _| {
        run(async {
            let (stream, other) = (name("s"), name("other"));
            let (from, _) = original().await;
            clock.advance(Duration::from_secs(9));
            let mut steps = steps(&from, &stream).await;
            let begin = steps.pop().unwrap();
            let begun = log.restore(&stream, begin.clone()).await.unwrap();
            assert_eq!((begun.tail.number(), begun.complete), (0, false));
            let half = log.restore(&stream, steps[1].clone()).await.unwrap();
            assert_eq!(half.tail.number(), 3);

            assert!(log.info(&stream).await.unwrap_err().is_restoring());
            assert!(log.image(&stream).await.unwrap_err().is_restoring());
            assert!(log.follow(&stream).await.unwrap_err().is_restoring());
            assert!(log.touch(&stream).await.unwrap_err().is_restoring());
            let read = log.read(&stream, ReadFrom::Start, 9).await;
            assert!(read.unwrap_err().is_restoring());
            let appended = log.append(&stream, Append::new(vec!["x".into()])).await;
            assert!(appended.unwrap_err().is_restoring());
            assert!(
                log.create(&stream, plain())
                    .await
                    .unwrap_err()
                    .is_restoring()
            );
            let forked = log.create(&other, fork_of(&stream)).await;
            assert!(forked.unwrap_err().is_restoring());
            assert_eq!(log.list("", None, 9).await.unwrap().streams, []);
            let order = log.read_order(Position::START, 99, None).await.unwrap();
            assert_eq!(order.entries, []);

            // It isn't complete without the last messages, and takes none beyond them.
            let early = log.restore(&stream, Restore::End).await;
            assert!(early.unwrap_err().is_invalid());
            let beyond = Restore::Messages {
                at: Offset::new(3),
                times: vec![START; 5],
                messages: vec!["x".into(); 5],
            };
            assert!(log.restore(&stream, beyond).await.unwrap_err().is_invalid());
            // Messages that are there aren't added again.
            let again = log.restore(&stream, steps[1].clone()).await.unwrap();
            assert_eq!(again, half);
            assert_eq!(log.restore(&stream, begin.clone()).await.unwrap(), half);

            // Another image begins again, and a deletion leaves nothing.
            append(&from, &stream, &["more"]).await;
            let newer = Restore::Begin(image(&from, &stream).await);
            assert_eq!(log.restore(&stream, newer).await.unwrap(), begun);
            log.delete(&stream).await.unwrap();
            assert!(log.info(&stream).await.unwrap_err().is_not_found());
            let usage = log.usage();
            assert_eq!((usage.streams, usage.bytes), (0, 0));
            let order = log.read_order(Position::START, 99, None).await.unwrap();
            assert_eq!(order.ended, []);
            let late = log.restore(&stream, steps[0].clone()).await;
            assert!(late.unwrap_err().is_not_found());
        });
    });
}

#[test]
fn only_a_stream_with_the_same_messages_is_taken_for_a_restored_one() {
    every_engine(|log, clock, _| {
        run(async {
            let stream = name("s");
            let (from, _) = original().await;
            clock.advance(Duration::from_secs(9));
            restore(log, &stream, steps(&from, &stream).await).await;
            let begin = Restore::Begin(image(&from, &stream).await);
            append(log, &stream, &["here"]).await;
            let again = log.restore(&stream, begin.clone()).await.unwrap();
            assert_eq!((again.tail.number(), again.complete), (8, true));
            assert!(log.restore(&stream, Restore::End).await.unwrap().complete);
            let more = Restore::Producers(Vec::new());
            assert!(log.restore(&stream, more).await.unwrap_err().is_taken());

            // The original has another message at the same offset by now.
            append(&from, &stream, &["there"]).await;
            let other = Restore::Begin(image(&from, &stream).await);
            assert!(log.restore(&stream, other).await.unwrap_err().is_taken());

            let (fresh, closed) = (name("fresh"), name("closed"));
            log.create(&fresh, plain()).await.unwrap();
            assert!(log.restore(&fresh, begin).await.unwrap_err().is_taken());
            // A log's own stream is the same until it is closed.
            log.create(&closed, plain()).await.unwrap();
            let mut own = image(log, &closed).await;
            let begun = log.restore(&closed, Restore::Begin(own.clone())).await;
            assert!(begun.unwrap().complete);
            own.closed = true;
            let begun = log.restore(&closed, Restore::Begin(own)).await;
            assert!(begun.unwrap_err().is_taken());
        });
    });
}

#[test]
fn a_fork_becomes_a_stream_of_its_own_with_its_marks() {
    every_engine(|log, clock, _| {
        run(async {
            let (source, fork) = (name("source"), name("fork"));
            let from = MemoryLog::default();
            from.create(&source, plain()).await.unwrap();
            append(&from, &source, &["one", "two"]).await;
            from.create(&fork, fork_of(&source)).await.unwrap();
            append(&from, &fork, &["three"]).await;
            let mut closing = Append::new(vec!["four".into()]).by("p", 0, 0);
            closing = closing.closing_for("torn".into());
            from.append(&fork, closing.clone()).await.unwrap();
            let before = from.info(&fork).await.unwrap();
            clock.advance(Duration::from_secs(9));

            restore(log, &fork, steps(&from, &fork).await).await;
            assert_eq!(all(log, &fork).await, ["one", "two", "three", "four"]);
            let info = log.info(&fork).await.unwrap();
            assert_eq!(info.fork, None);
            assert_eq!(info.reason.as_deref(), Some(&b"torn"[..]));
            for at in 0..=4 {
                let mark = before.at(Offset::new(at));
                assert!(info.lineage.find(mark).is_some(), "{at}");
            }
            let again = log.append(&fork, closing).await.unwrap();
            assert!(matches!(again, Outcome::Duplicate(_)), "{again:?}");
            let more = log.append(&fork, Append::new(vec!["x".into()])).await;
            assert!(matches!(
                more.unwrap(),
                Outcome::Refused(Refusal::Closed { .. })
            ));

            // It can be forked and moved again.
            log.create(&source, fork_of(&fork)).await.unwrap();
            append(log, &source, &["five"]).await;
            let info = log.info(&source).await.unwrap();
            for at in 0..=4 {
                let mark = before.at(Offset::new(at));
                assert!(info.lineage.find(mark).is_some(), "{at}");
            }
            restore(&from, &name("back"), steps(log, &source).await).await;
            let back = from.info(&name("back")).await.unwrap();
            assert!(back.lineage.find(info.at(info.tail)).is_some());
            assert!(back.lineage.find(before.at(Offset::new(2))).is_some());
        });
    });
}

#[test]
fn messages_that_were_trimmed_on_the_way_leave_no_gap() {
    every_engine(|log, _, settle| {
        let stream = name("s");
        run(async {
            let (from, _) = original().await;
            let begin = Restore::Begin(image(&from, &stream).await);
            let some = |at, count: usize| Restore::Messages {
                at: Offset::new(at),
                times: vec![START; count],
                messages: vec!["m".into(); count],
            };
            log.restore(&stream, begin).await.unwrap();
            log.restore(&stream, some(0, 2)).await.unwrap();
            let tail = log.restore(&stream, some(4, 2)).await.unwrap().tail;
            assert_eq!(tail.number(), 6);
            assert_eq!(log.usage().bytes, 2);
            log.restore(&stream, some(7, 0)).await.unwrap();
            log.restore(&stream, Restore::End).await.unwrap();
        });
        settle();
        run(async {
            let info = log.info(&stream).await.unwrap();
            assert_eq!((info.floor.number(), info.tail.number()), (7, 7));
            assert_eq!(log.usage().bytes, 0);
            append(log, &stream, &["next"]).await;
            assert_eq!(all(log, &stream).await, ["next"]);
        });
    });
}

#[test]
fn caps_apply_once_a_stream_is_complete() {
    every_engine(|log, clock, settle| {
        let stream = name("s");
        let steps = run(async {
            let from = memory(&Clock::by_hand(START), log.identity());
            let mut settings = Settings::of_type("text/plain");
            settings.max_age = Some(Duration::from_secs(60));
            from.create(&stream, Create::new(settings)).await.unwrap();
            append(&from, &stream, &["old"]).await;
            let mut steps = steps(&from, &stream).await;
            log.restore(&stream, steps.pop().unwrap()).await.unwrap();
            steps
        });
        clock.advance(Duration::from_secs(61));
        for step in &steps[..3] {
            settle();
            run(log.restore(&stream, step.clone())).unwrap();
        }
        settle();
        assert_eq!(log.usage().bytes, 3);
        run(log.restore(&stream, Restore::End)).unwrap();
        run(append(log, &stream, &["new"]));
        settle();
        assert_eq!(run(all(log, &stream)), ["new"]);
    });
}

#[test]
fn images_and_steps_have_limits() {
    let mut most = Limits::default();
    most.producers = 2;
    most.message_bytes = 5;
    every_engine_with(most, |log, _, _| {
        run(async {
            let stream = name("s");
            let (from, _) = original().await;
            let good = image(&from, &stream).await;
            let refused = async |change: &dyn Fn(&mut Image)| {
                let mut image = good.clone();
                change(&mut image);
                log.restore(&stream, Restore::Begin(image))
                    .await
                    .unwrap_err()
            };
            assert!(refused(&|it| it.marks.clear()).await.is_invalid());
            let twice = |it: &mut Image| it.marks = vec![it.tail(), it.tail()];
            assert!(refused(&twice).await.is_invalid());
            let many = |it: &mut Image, count: usize| {
                let mark = it.tail();
                it.marks = (0..count as u64)
                    .map(|at| Mark {
                        at: Offset::new(at),
                        ..mark
                    })
                    .collect();
                it.floor = Offset::START;
            };
            let over = |it: &mut Image| many(it, limits::MARKS + 1);
            assert!(refused(&over).await.is_too_many());
            assert!(refused(&|it| it.floor = Offset::new(8)).await.is_invalid());
            assert!(
                refused(&|it| it.reason = Some("r".into()))
                    .await
                    .is_invalid()
            );
            let long = |bytes| "x".repeat(bytes);
            let seq = |it: &mut Image| it.seq = Some(long(limits::SEQ_BYTES + 1));
            assert!(refused(&seq).await.is_too_large());
            let reason = |it: &mut Image| {
                it.closed = true;
                it.reason = Some(long(limits::REASON_BYTES + 1).into());
            };
            assert!(refused(&reason).await.is_too_large());
            let mut full = good.clone();
            many(&mut full, limits::MARKS);
            full.closed = true;
            full.reason = Some(long(limits::REASON_BYTES).into());
            full.seq = Some(long(limits::SEQ_BYTES));
            log.restore(&name("full"), Restore::Begin(full))
                .await
                .unwrap();

            log.restore(&stream, Restore::Begin(good)).await.unwrap();
            let by = |id: &str| {
                let (id, epoch, seq) = (id.to_owned(), 0, 0);
                ProducerImage::new(Producer { id, epoch, seq })
            };
            let put = |producers| log.restore(&stream, Restore::Producers(producers));
            put(vec![by("a"), by("b")]).await.unwrap();
            put(vec![by("b")]).await.unwrap();
            let third = put(vec![by("c")]).await.unwrap_err();
            assert!(third.is_too_many_producers());
            assert!(put(vec![by("")]).await.unwrap_err().is_invalid());
            let mut window = by("a");
            window.appends = vec![0; limits::PRODUCER_WINDOW + 1];
            assert!(put(vec![window]).await.unwrap_err().is_invalid());
            let message = |bytes, times| Restore::Messages {
                at: Offset::START,
                times: vec![START; times],
                messages: vec![long(bytes).into()],
            };
            assert!(
                log.restore(&stream, message(6, 1))
                    .await
                    .unwrap_err()
                    .is_too_large()
            );
            assert!(
                log.restore(&stream, message(5, 2))
                    .await
                    .unwrap_err()
                    .is_invalid()
            );
            log.restore(&stream, message(5, 1)).await.unwrap();
        });
    });
}
