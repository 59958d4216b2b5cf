//! The state of producers: duplicates, published messages, and how long a producer is remembered.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use headwater_log::{
    Append, Clock, Digest, Limits, Log, Offset, Outcome, Published, Refusal, StreamName, limits,
};

use crate::support::{
    all, every_engine, every_engine_with, every_process_with, name, open, plain, quick_folder, run,
};

fn messages(texts: &[&str]) -> Append {
    Append::new(texts.iter().map(|text| text.to_string().into()).collect())
}

async fn accepted(log: &dyn Log, stream: &StreamName, append: Append) {
    let outcome = log.append(stream, append).await.unwrap();
    assert!(matches!(outcome, Outcome::Appended(_)), "{outcome:?}");
}

async fn refused(log: &dyn Log, stream: &StreamName, append: Append) -> Refusal {
    match log.append(stream, append).await.unwrap() {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn published(texts: &[&str]) -> Published {
    let mut digest = Digest::EMPTY;
    texts.iter().for_each(|text| digest.add(text.as_bytes()));
    Published {
        messages: texts.len() as u64,
        digest,
    }
}

#[test]
fn a_repeated_number_with_another_body_is_refused_and_not_stored() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            accepted(log, &stream, messages(&["1"]).by("p", 0, 0)).await;
            accepted(log, &stream, messages(&["2", "3"]).by("p", 0, 1)).await;
            let others: [&[&str]; 4] = [&["4"], &["1", "2"], &["23"], &["2", "3", ""]];
            for (seq, texts) in others.into_iter().enumerate() {
                let received = seq as u64 % 2;
                let refusal = refused(log, &stream, messages(texts).by("p", 0, received)).await;
                assert_eq!(refusal, Refusal::Reused { received, last: 1 }, "{texts:?}");
            }
            let mut closing = messages(&["2", "3"]).by("p", 0, 1);
            closing.close = true;
            let refusal = refused(log, &stream, closing).await;
            assert!(matches!(refusal, Refusal::Reused { .. }), "{refusal:?}");
            assert!(!log.info(&stream).await.unwrap().closed);
            assert_eq!(all(log, &stream).await, ["1", "2", "3"]);
        });
    });
}

#[test]
fn appends_in_progress_together_are_checked_in_the_order_of_their_calls() {
    every_process_with(Limits::default(), |log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            let mut waiting = Vec::new();
            for seq in 0..300 {
                let mut append = log.append(&stream, messages(&["1"]).by("p", 0, seq));
                let poll = append
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()));
                waiting.push((append, poll));
                if seq % 7 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            for (append, poll) in waiting {
                let outcome = match poll {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => append.await,
                };
                let outcome = outcome.unwrap();
                assert!(matches!(outcome, Outcome::Appended(_)), "{outcome:?}");
            }
        });
    });
}

#[test]
fn a_repetition_after_the_close_is_a_duplicate() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            let one = messages(&["1"]).by("p", 0, 0);
            let two = messages(&["2"]).by("p", 0, 1);
            let mut last = messages(&["3"]).by("p", 0, 2);
            last.close = true;
            let other = messages(&["0"]).by("other", 0, 0);
            for append in [&other, &one, &two, &last] {
                accepted(log, &stream, append.clone()).await;
            }
            // Each has the offset of the end, as the receipt says that the stream is closed.
            for (append, seq) in [(other, 0), (one, 2), (two, 2), (last, 2)] {
                match log.append(&stream, append).await.unwrap() {
                    Outcome::Duplicate(receipt) => {
                        assert!(receipt.closed);
                        assert_eq!(
                            receipt.mark(),
                            log.info(&stream).await.unwrap().at(Offset::new(4))
                        );
                        assert_eq!(receipt.producer_seq, Some(seq));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let mut closing = messages(&["2"]).by("p", 0, 1);
            closing.close = true;
            for other in [
                messages(&["1"]).by("p", 0, 1),
                closing,
                messages(&["4"]).by("p", 0, 3),
                messages(&["1"]).by("p", 1, 0),
                messages(&["1"]).by("q", 0, 0),
            ] {
                let refusal = refused(log, &stream, other).await;
                assert!(matches!(refusal, Refusal::Closed { .. }), "{refusal:?}");
            }
            assert_eq!(all(log, &stream).await, ["0", "1", "2", "3"]);
        });
    });
}

#[test]
fn the_newest_appends_can_be_compared() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            let by = |seq: u64| messages(&[&seq.to_string()]).by("p", 4, seq);
            let window = limits::PRODUCER_WINDOW as u64;
            for seq in 0..window + 5 {
                accepted(log, &stream, by(seq)).await;
            }
            for seq in 5..window + 5 {
                let outcome = log.append(&stream, by(seq)).await.unwrap();
                assert!(
                    matches!(outcome, Outcome::Duplicate(_)),
                    "{seq}: {outcome:?}"
                );
            }
            for received in 0..5 {
                let (oldest, last) = (5, window + 4);
                let expected = Refusal::TooOld {
                    received,
                    oldest,
                    last,
                };
                assert_eq!(refused(log, &stream, by(received)).await, expected);
            }
            assert_eq!(all(log, &stream).await.len() as u64, window + 5);
        });
    });
}

#[test]
fn published_messages_are_known_across_epochs_and_batches() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            assert_eq!(log.producer(&stream, "p").await.unwrap(), None);
            accepted(log, &stream, messages(&["a", "b"]).by("p", 0, 0)).await;
            accepted(log, &stream, messages(&["x"])).await;
            accepted(log, &stream, messages(&["y"]).by("q", 0, 0)).await;
            accepted(log, &stream, messages(&["c"]).by("p", 0, 1)).await;
            accepted(log, &stream, messages(&["d", "e"]).by("p", 9, 0)).await;
            let known = log.producer(&stream, "p").await.unwrap().unwrap();
            assert_eq!((known.epoch, known.seq), (9, 0));
            assert_eq!(known.published, published(&["a", "b", "c", "d", "e"]));
            // Neither a repetition nor a refusal changes the state.
            log.append(&stream, messages(&["d", "e"]).by("p", 9, 0))
                .await
                .unwrap();
            refused(log, &stream, messages(&["z"]).by("p", 9, 0)).await;
            refused(log, &stream, messages(&["z"]).by("p", 8, 1)).await;
            assert_eq!(log.producer(&stream, "p").await.unwrap(), Some(known));
            let missing = log.producer(&name("other"), "p").await.unwrap_err();
            assert!(missing.is_not_found());
            // The state belongs to the stream: another stream of the same name doesn't have it.
            log.delete(&stream).await.unwrap();
            log.create(&stream, plain()).await.unwrap();
            assert_eq!(log.producer(&stream, "p").await.unwrap(), None);
        });
    });
}

#[test]
fn an_epoch_starts_only_after_the_messages_that_it_continues() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            let from = |texts: &[&str], epoch| {
                let mut append = messages(&["new"]).by("p", epoch, 0);
                append.continues = Some(published(texts));
                append
            };
            let nothing = Refusal::Diverged {
                published: published(&[]),
                epoch: None,
            };
            assert_eq!(refused(log, &stream, from(&["a"], 1)).await, nothing);
            accepted(log, &stream, from(&[], 1)).await;
            for wrong in [&[][..], &["other"], &["new", "new"]] {
                let expected = Refusal::Diverged {
                    published: published(&["new"]),
                    epoch: Some(1),
                };
                assert_eq!(refused(log, &stream, from(wrong, 2)).await, expected);
            }
            accepted(log, &stream, from(&["new"], 2)).await;
            assert_eq!(all(log, &stream).await, ["new", "new"]);
            // `continues` is allowed only on the first append of an epoch.
            let mut later = messages(&["new"]).by("p", 2, 1);
            later.continues = Some(published(&["new", "new"]));
            assert!(
                log.append(&stream, later.clone())
                    .await
                    .unwrap_err()
                    .is_invalid()
            );
            later.producer = None;
            assert!(log.append(&stream, later).await.unwrap_err().is_invalid());
        });
    });
}

#[test]
fn a_producer_is_remembered_after_a_restart_and_a_thousand_others() {
    let folder = quick_folder();
    let stream = name("s");
    let log = open(folder.path()).unwrap();
    run(async {
        log.create(&stream, plain()).await.unwrap();
        accepted(&log, &stream, messages(&["one"]).by("p", 0, 0)).await;
        for other in 0..1024 {
            let append = messages(&["other"]).by(&format!("other-{other}"), 0, 0);
            accepted(&log, &stream, append).await;
        }
    });
    drop(log);
    let log = open(folder.path()).unwrap();
    run(async {
        let outcome = log.append(&stream, messages(&["one"]).by("p", 0, 0)).await;
        assert!(matches!(outcome, Ok(Outcome::Duplicate(_))), "{outcome:?}");
        let refusal = refused(&log, &stream, messages(&["two"]).by("p", 0, 0)).await;
        assert!(matches!(refusal, Refusal::Reused { .. }), "{refusal:?}");
        let known = log.producer(&stream, "p").await.unwrap().unwrap();
        assert_eq!(known.published, published(&["one"]));
        assert_eq!(log.info(&stream).await.unwrap().tail.number(), 1025);
    });
}

/// Returns the first append of a producer, or a later one.
fn by(id: &str, seq: u64) -> Append {
    messages(&["m"]).by(id, 0, seq)
}

/// Creates a stream to which `a`, `b`, `c` and `d` append, one each second.
async fn with_four_producers(log: &dyn Log, clock: &Clock) -> StreamName {
    let stream = name("s");
    log.create(&stream, plain()).await.unwrap();
    for id in ["a", "b", "c", "d"] {
        accepted(log, &stream, by(id, 0)).await;
        clock.advance(Duration::from_secs(1));
    }
    stream
}

fn four() -> Limits {
    let mut limits = Limits::default();
    limits.producers = 4;
    limits
}

#[test]
fn a_producer_above_the_limit_is_refused_and_no_recent_one_forgotten() {
    every_engine_with(four(), |log, clock, _| {
        run(async {
            let stream = with_four_producers(log, clock).await;
            for _ in 0..3 {
                let error = log.append(&stream, by("e", 0)).await.unwrap_err();
                assert!(error.is_too_many_producers(), "{error}");
                assert!(!error.is_too_many() && error.limit() == Some(4), "{error}");
            }
            assert_eq!(log.info(&stream).await.unwrap().tail.number(), 4);
            // Appends without a producer, repetitions, and appends of known producers aren't
            // affected.
            accepted(log, &stream, messages(&["m"])).await;
            for id in ["a", "b", "c", "d"] {
                let again = log.append(&stream, by(id, 0)).await.unwrap();
                assert!(matches!(again, Outcome::Duplicate(_)), "{id}: {again:?}");
                accepted(log, &stream, by(id, 1)).await;
            }
            // The limit applies to each stream separately.
            let other = name("t");
            log.create(&other, plain()).await.unwrap();
            accepted(log, &other, by("e", 0)).await;
        });
    });
}

#[test]
fn only_a_producer_idle_for_a_week_makes_room_for_another() {
    every_engine_with(four(), |log, clock, _| {
        run(async {
            let stream = with_four_producers(log, clock).await;
            accepted(log, &stream, by("a", 1)).await;
            // `b` was last used three seconds ago.
            clock
                .advance(limits::PRODUCER_IDLE - Duration::from_secs(3) - Duration::from_millis(1));
            let error = log.append(&stream, by("e", 0)).await.unwrap_err();
            assert!(error.is_too_many_producers(), "{error}");
            clock.advance(Duration::from_millis(1));
            // A producer is remembered until another one needs its place.
            accepted(log, &stream, by("b", 1)).await;
            let error = log.append(&stream, by("e", 0)).await.unwrap_err();
            assert!(error.is_too_many_producers(), "{error}");
            clock.advance(Duration::from_secs(1));
            accepted(log, &stream, by("e", 0)).await;
            // Only `c` was forgotten.
            assert_eq!(log.producer(&stream, "c").await.unwrap(), None);
            for (id, seq) in [("a", 2), ("b", 2), ("d", 1), ("e", 1)] {
                accepted(log, &stream, by(id, seq)).await;
            }
            let error = log.append(&stream, by("c", 0)).await.unwrap_err();
            assert!(error.is_too_many_producers(), "{error}");
        });
    });
}

#[test]
fn producers_that_become_idle_together_are_all_forgotten() {
    let mut limits = Limits::default();
    limits.producers = 300;
    every_engine_with(limits, |log, clock, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            for round in 0..3 {
                for id in 0..300 {
                    let append = messages(&["m"]).by(&format!("{round}-{id}"), 0, 0);
                    accepted(log, &stream, append).await;
                }
                let one_more = messages(&["m"]).by("one more", 0, 0);
                assert!(log.append(&stream, one_more).await.is_err(), "{round}");
                clock.advance(limits::PRODUCER_IDLE);
            }
            assert_eq!(log.producer(&stream, "0-0").await.unwrap(), None);
            assert!(log.producer(&stream, "2-299").await.unwrap().is_some());
        });
    });
}
