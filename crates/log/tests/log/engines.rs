//! Behaviour of every engine that the comparison with the model can't verify, because the model
//! could have the same fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_log::{
    Append, Clock, Create, DiskLog, DiskOptions, Expiry, ForkFrom, Limits, Log, Mark, Matching,
    MemoryLog, MemoryOptions, Offset, Outcome, Position, ReadFrom, Refusal, Settings, Skip,
    StreamName,
};

use crate::support::{
    START, all, append, every_engine, name, open, options, plain, quick_folder, run, texts,
};

#[test]
fn a_read_respects_its_budget_but_returns_at_least_one_message() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            append(log, &stream, &["1234", "5678", "9"]).await;
            let read = async |from, budget| {
                let chunk = log
                    .read(&stream, ReadFrom::At(Offset::new(from)), budget)
                    .await
                    .unwrap();
                (texts(&chunk), chunk.next.number(), chunk.at_tail)
            };
            assert_eq!(read(0, 0).await, (vec!["1234".to_owned()], 1, false));
            assert_eq!(read(0, 8).await.1, 2);
            assert_eq!(
                read(1, 5).await,
                (vec!["5678".to_owned(), "9".to_owned()], 3, true)
            );
            assert_eq!(read(3, 5).await, (vec![], 3, true));
            let error = log
                .read(&stream, ReadFrom::At(Offset::new(4)), 5)
                .await
                .unwrap_err();
            assert!(error.is_beyond_tail());
            assert_eq!(error.tail().map(|tail| tail.at), Some(Offset::new(3)));
        });
    });
}

#[test]
fn a_repeated_append_of_a_producer_is_stored_once() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            let first = Append::new(vec!["once".into(), "twice?".into()]).by("p", 0, 0);
            let Outcome::Appended(receipt) = log.append(&stream, first.clone()).await.unwrap()
            else {
                panic!("it is the first")
            };
            assert_eq!((receipt.next.number(), receipt.producer_seq), (2, Some(0)));
            let Outcome::Duplicate(again) = log.append(&stream, first).await.unwrap() else {
                panic!("it was there")
            };
            assert_eq!((again.next, again.producer_seq), (receipt.next, Some(0)));
            assert_eq!(all(log, &stream).await, ["once", "twice?"]);
        });
    });
}

#[test]
fn an_append_to_another_stream_than_is_meant_is_not_found() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            let id = log.info(&stream).await.unwrap().id;
            assert!(log.known(&stream).is_none_or(|info| info.id == id));
            let to = |id, text: &str| {
                let mut append = Append::new(vec![text.to_owned().into()]).by("p", 0, 0);
                append.stream = Some(id);
                append
            };
            let outcome = log.append(&stream, to(id, "a")).await.unwrap();
            assert!(matches!(outcome, Outcome::Appended(_)));
            let outcome = log.append(&stream, to(id, "a")).await.unwrap();
            assert!(matches!(outcome, Outcome::Duplicate(_)));
            log.delete(&stream).await.unwrap();
            let error = log.append(&stream, to(id, "b")).await.unwrap_err();
            assert!(error.is_not_found());
            log.create(&stream, plain()).await.unwrap();
            let error = log.append(&stream, to(id, "c")).await.unwrap_err();
            assert!(error.is_not_found());
            let id = log.info(&stream).await.unwrap().id;
            log.append(&stream, to(id, "d")).await.unwrap();
            assert_eq!(all(log, &stream).await, ["d"]);
        });
    });
}

#[test]
fn only_the_closing_append_can_be_repeated_on_a_closed_stream() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            let info = log.create(&stream, plain()).await.unwrap().info;
            let mut last = Append::new(vec!["last".into()]).by("p", 3, 0);
            last.close = true;
            assert!(matches!(
                log.append(&stream, last.clone()).await,
                Ok(Outcome::Appended(_))
            ));
            assert!(
                matches!(log.append(&stream, last).await, Ok(Outcome::Duplicate(again)) if again.closed)
            );
            let closed = Outcome::Refused(Refusal::Closed {
                tail: info.at(Offset::new(1)),
            });
            let more = Append::new(vec!["more".into()]);
            assert_eq!(log.append(&stream, more).await.unwrap(), closed);
            let done = log.append(&stream, Append::closing()).await.unwrap();
            assert!(
                matches!(done, Outcome::Appended(done) if done.closed && done.next.number() == 1)
            );
            let chunk = log.read(&stream, ReadFrom::Tail, 1).await.unwrap();
            assert!(chunk.at_tail && chunk.closed);
        });
    });
}

#[test]
fn the_close_reason_of_a_stream_is_kept() {
    every_engine(|log, _, _| {
        run(async {
            let (stream, fork) = (name("s"), name("fork"));
            log.create(&stream, plain()).await.unwrap();
            assert_eq!(log.info(&stream).await.unwrap().reason, None);
            let last = Append::new(vec!["last".into()]).closing_for("torn".into());
            log.append(&stream, last).await.unwrap();
            log.append(&stream, Append::default().closing_for("later".into()))
                .await
                .unwrap();
            let info = log.info(&stream).await.unwrap();
            assert!(info.closed);
            assert_eq!(info.reason.as_deref(), Some(&b"torn"[..]));

            // The reason applies to this stream, not to its forks.
            let mut create = Create::new(Settings::of_type(""));
            create.fork = Some(ForkFrom {
                source: stream.clone(),
                at: None,
                of: None,
                skip: Skip::NONE,
            });
            let made = log.create(&fork, create).await.unwrap();
            assert_eq!((made.info.closed, made.info.reason), (false, None));
        });
    });
}

#[test]
fn offsets_of_a_fork_are_its_sources_up_to_the_fork_point() {
    every_engine(|log, _, _| {
        run(async {
            let source = name("source");
            log.create(&source, plain()).await.unwrap();
            append(log, &source, &["one", "two", "three"]).await;
            let fork = async |stream: &str, at: Mark, skip| {
                let mut create = Create::new(Settings::of_type(""));
                create.fork = Some(ForkFrom {
                    source: source.clone(),
                    at: Some(at.at),
                    of: Some(at.incarnation),
                    skip,
                });
                log.create(&name(stream), create).await
            };
            let info = log.info(&source).await.unwrap();
            let at = |offset| info.at(Offset::new(offset));
            let whole = fork("whole", at(1), Skip::Bytes(3)).await.unwrap().info;
            let cut = fork("cut", at(1), Skip::Bytes(2)).await.unwrap().info;
            assert_eq!((whole.tail.number(), cut.tail.number()), (2, 2));
            assert_eq!(whole.at(whole.tail), at(2));
            // The end of a shortened message isn't the source's.
            assert_eq!(cut.lineage.find(at(2)), None);
            assert_eq!(cut.lineage.find(at(1)), Some(Offset::new(1)));
            let receipt = append(log, &name("whole"), &["mine"]).await;
            assert_eq!(info.lineage.find(receipt.mark()), None);
            assert_eq!(whole.lineage.find(receipt.mark()), Some(receipt.next));
            assert_eq!(whole.lineage.find(at(3)), None);
            // A mark of another stream is refused as a fork point.
            let refused = fork("again", receipt.mark(), Skip::NONE).await;
            assert!(refused.unwrap_err().is_bad_fork_point());
        });
    });
}

#[test]
fn a_recreated_stream_has_other_marks_in_every_response() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            let old = log.create(&stream, plain()).await.unwrap().info;
            append(log, &stream, &["old"]).await;
            log.delete(&stream).await.unwrap();
            let new = log.create(&stream, plain()).await.unwrap().info;
            assert_eq!(new.lineage.find(old.at(Offset::START)), None);
            let receipt = append(log, &stream, &["new"]).await;
            assert_eq!(receipt.mark(), new.at(receipt.next));
            let chunk = log.read(&stream, ReadFrom::Start, 99).await.unwrap();
            assert_eq!(chunk.lineage, new.lineage);
            let far = ReadFrom::At(Offset::new(9));
            let error = log.read(&stream, far, 99).await.unwrap_err();
            assert_eq!(error.tail(), Some(new.at(receipt.next)));
            let order = log.read_order(Position::START, 99, None).await.unwrap();
            let own = log.identity().stream(order.entries[0].id);
            assert_eq!(own, new.lineage.own());
            log.append(&stream, Append::closing()).await.unwrap();
            let refused = log.append(&stream, Append::new(vec!["x".into()])).await;
            assert_eq!(
                refused.unwrap(),
                Outcome::Refused(Refusal::Closed {
                    tail: new.at(receipt.next)
                })
            );
        });
    });
}

#[test]
fn a_folder_keeps_its_identity_and_a_wiped_one_has_another() {
    let folder = tempfile::tempdir().unwrap();
    let identity = || open(folder.path()).unwrap().identity();
    let first = identity();
    assert_eq!(identity(), first);
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_ne!(identity(), first);
}

#[test]
fn a_fork_inherits_earlier_messages_and_diverges_after_them() {
    every_engine(|log, _, _| {
        run(async {
            let (source, fork, deeper) = (name("source"), name("fork"), name("deeper"));
            log.create(&source, plain()).await.unwrap();
            append(log, &source, &["one", "two", "three"]).await;
            let make = async |stream: &StreamName, from: &StreamName, at: u64, skip| {
                let mut create = Create::new(Settings::of_type(""));
                let at = Some(Offset::new(at));
                create.fork = Some(ForkFrom {
                    source: from.clone(),
                    at,
                    of: None,
                    skip,
                });
                log.create(stream, create).await
            };
            let made = make(&fork, &source, 1, Skip::Bytes(2)).await.unwrap();
            assert_eq!(made.info.settings.content_type, "text/plain");
            assert_eq!(made.info.tail.number(), 2);
            append(log, &fork, &["mine"]).await;
            append(log, &source, &["four"]).await;
            assert_eq!(all(log, &fork).await, ["one", "tw", "mine"]);
            make(&deeper, &fork, 1, Skip::Bytes(1)).await.unwrap();
            append(log, &deeper, &["deep"]).await;
            assert_eq!(all(log, &deeper).await, ["one", "t", "deep"]);
            let end = make(&name("e"), &source, 2, Skip::Bytes(5)).await.unwrap();
            assert_eq!(end.info.tail.number(), 3);
            for (at, skip) in [(5, Skip::NONE), (2, Skip::Bytes(6)), (3, Skip::Messages(2))] {
                let error = make(&name("x"), &source, at, skip).await.unwrap_err();
                assert!(error.is_bad_fork_point(), "{error}");
            }
            assert!(
                make(&name("x"), &name("none"), 0, Skip::NONE)
                    .await
                    .unwrap_err()
                    .is_source_not_found()
            );

            // A deleted source is hidden, and remains for its forks.
            log.delete(&source).await.unwrap();
            assert!(log.info(&source).await.unwrap_err().is_gone());
            assert!(log.create(&source, plain()).await.unwrap_err().is_gone());
            assert!(
                make(&name("x"), &source, 0, Skip::NONE)
                    .await
                    .unwrap_err()
                    .is_source_gone()
            );
            log.delete(&fork).await.unwrap();
            assert_eq!(all(log, &deeper).await, ["one", "t", "deep"]);
            log.delete(&name("e")).await.unwrap();
            log.delete(&deeper).await.unwrap();
            for stream in [&source, &fork, &deeper] {
                assert!(log.info(stream).await.unwrap_err().is_not_found());
            }
            assert_eq!(log.usage().streams, 0);
        });
    });
}

#[test]
fn a_stream_in_use_does_not_expire() {
    every_engine(|log, clock, settle| {
        let stream = name("s");
        let mut settings = Settings::of_type("text/plain");
        settings.expiry = Some(Expiry::Idle(Duration::from_secs(60)));
        run(log.create(&stream, Create::new(settings))).unwrap();
        for _ in 0..5 {
            clock.advance(Duration::from_secs(45));
            settle();
            run(log.touch(&stream)).unwrap();
        }
        clock.advance(Duration::from_secs(45));
        run(append(log, &stream, &["kept"]));
        clock.advance(Duration::from_secs(59));
        settle();
        // A description doesn't count as use.
        assert!(run(log.info(&stream)).is_ok());
        clock.advance(Duration::from_secs(1));
        assert!(run(log.info(&stream)).unwrap_err().is_not_found());
        let again = run(log.create(&stream, plain())).unwrap();
        assert!(again.is_new && again.info.tail == Offset::START);
    });
}

#[test]
fn a_stream_expires_by_itself_without_any_request() {
    let clock = Clock::by_hand(START);
    let mut memory = MemoryOptions::default();
    memory.clock = clock.clone();
    let folder = quick_folder();
    let mut disk = options(&clock, Limits::default());
    disk.reclaim_every = DiskOptions::default().reclaim_every;
    let engines: [Arc<dyn Log>; 2] = [
        Arc::new(MemoryLog::new(memory)),
        Arc::new(DiskLog::open(folder.path(), disk).unwrap()),
    ];
    for log in engines {
        run(async {
            // The second round covers a background thread that rested in between.
            for round in 0..2 {
                let second = Duration::from_secs(1);
                let of = |expiry| {
                    let mut settings = Settings::of_type("text/plain");
                    settings.expiry = Some(expiry);
                    Create::new(settings)
                };
                let (at, idle) = (name("at"), name("idle"));
                let later = Expiry::At(clock.now().after(second));
                log.create(&at, of(later)).await.unwrap();
                log.create(&idle, of(Expiry::Idle(second))).await.unwrap();
                let mut followers = Vec::new();
                for stream in [&at, &idle] {
                    followers.push(log.follow(stream).await.unwrap());
                }
                clock.advance(second);
                let start = Instant::now();
                for follower in &mut followers {
                    assert!(follower.past(Offset::START).await.gone, "{round}");
                }
                let took = start.elapsed();
                assert!(took < Duration::from_secs(10), "{took:?}");
            }
        });
    }
}

#[test]
fn caps_trim_the_oldest_messages_and_a_read_of_them_returns_the_floor() {
    every_engine(|log, clock, settle| {
        let (small, young) = (name("small"), name("young"));
        let mut settings = Settings::of_type("text/plain");
        settings.max_bytes = Some(10);
        run(log.create(&small, Create::new(settings))).unwrap();
        let mut settings = Settings::of_type("text/plain");
        settings.max_age = Some(Duration::from_secs(60));
        run(log.create(&young, Create::new(settings))).unwrap();
        for text in ["12345", "67890", "abcde"] {
            run(append(log, &small, &[text]));
            run(append(log, &young, &[text]));
            clock.advance(Duration::from_secs(25));
            settle();
        }
        assert_eq!(run(all(log, &small)), ["67890", "abcde"]);
        assert_eq!(run(all(log, &young)), ["67890", "abcde"]);
        let error = run(log.read(&small, ReadFrom::At(Offset::START), 9)).unwrap_err();
        assert!(error.is_trimmed());
        assert_eq!(error.floor().map(|floor| floor.at), Some(Offset::new(1)));
        let info = run(log.info(&small)).unwrap();
        assert_eq!(
            (info.floor.number(), info.bytes, info.messages()),
            (1, 10, 2)
        );
        let order = run(log.read_order(Position::START, 999, None)).unwrap();
        let seen: Vec<_> = order
            .entries
            .iter()
            .map(|entry| entry.position.number())
            .collect();
        assert_eq!(seen, [2, 3, 4, 5]);
        clock.advance(Duration::from_secs(1000));
        settle();
        assert!(run(all(log, &young)).is_empty());
        assert_eq!(run(append(log, &young, &["next"])).next.number(), 4);
    });
}

#[test]
fn the_order_of_all_streams_can_be_read_in_parts_and_by_name() {
    every_engine(|log, _, _| {
        run(async {
            for stream in ["orders/1", "orders/2", "prices"] {
                log.create(&name(stream), plain()).await.unwrap();
            }
            for text in ["a", "b", "c"] {
                append(log, &name("orders/1"), &[text, text]).await;
                append(log, &name("prices"), &[text]).await;
                append(log, &name("orders/2"), &[text]).await;
            }
            let wanted: Matching = Arc::new(|name| name.as_str().starts_with("orders/"));
            let (mut seen, mut next) = (Vec::new(), Position::START);
            loop {
                let chunk = log
                    .read_order(next, 1, Some(Arc::clone(&wanted)))
                    .await
                    .unwrap();
                seen.extend(chunk.entries.iter().map(|entry| {
                    (
                        entry.position.number(),
                        entry.stream.to_string(),
                        entry.message.offset.number(),
                    )
                }));
                next = chunk.next;
                if chunk.at_head {
                    break;
                }
            }
            let of = |position, stream: &str, offset| (position, stream.to_owned(), offset);
            let (one, two) = ("orders/1", "orders/2");
            let expected = [
                of(0, one, 0),
                of(1, one, 1),
                of(3, two, 0),
                of(4, one, 2),
                of(5, one, 3),
                of(7, two, 1),
                of(8, one, 4),
                of(9, one, 5),
                of(11, two, 2),
            ];
            assert_eq!(seen, expected);
            assert_eq!(next, log.usage().head);
            assert!(
                log.read_order(Position::new(13), 1, None)
                    .await
                    .unwrap_err()
                    .is_beyond_tail()
            );
        });
    });
}

#[test]
fn followers_are_woken_by_appends_closing_and_deletion() {
    every_engine(|log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            let mut follower = log.follow(&stream).await.unwrap();
            let mut order = log.follow_order();
            let (_, progress) =
                tokio::join!(append(log, &stream, &["m"]), follower.past(Offset::START));
            assert_eq!(progress.tail, Offset::new(1));
            assert_eq!(order.past(Position::START).await, Some(Position::new(1)));
            let (_, progress) = tokio::join!(
                log.append(&stream, Append::closing()),
                follower.past(Offset::new(1))
            );
            assert!(progress.closed);
            let (_, changed) = tokio::join!(log.delete(&stream), follower.changed());
            assert!(changed && follower.progress().gone);
            assert!(log.follow(&stream).await.unwrap_err().is_not_found());
            log.close().await.unwrap();
            assert_eq!(order.past(Position::new(1)).await, Some(Position::new(2)));
            assert_eq!(order.past(Position::new(2)).await, None);
            assert!(log.create(&stream, plain()).await.unwrap_err().is_closed());
        });
    });
}

#[test]
fn concurrent_appends_are_each_stored_once_and_in_order() {
    let folder = quick_folder();
    let log = Arc::new(open(folder.path()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        for stream in ["a", "b"] {
            log.create(&name(stream), plain()).await.unwrap();
        }
        let tasks: Vec<_> = (0..32)
            .map(|task: usize| {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    let stream = name(["a", "b"][task % 2]);
                    for step in 0..20 {
                        let text = format!("{task:02} {step:02}");
                        let receipt = append(&*log, &stream, &[&text]).await;
                        // An acknowledged message can be read at once, at the offset of the
                        // receipt.
                        let at = Offset::new(receipt.next.number() - 1);
                        let chunk = log.read(&stream, ReadFrom::At(at), 0).await.unwrap();
                        assert_eq!(texts(&chunk), [text.as_str()]);
                        let at = Position::new(receipt.position.number() - 1);
                        let chunk = log.read_order(at, 0, None).await.unwrap();
                        assert_eq!(chunk.entries[0].message.bytes, text);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for stream in ["a", "b"] {
            let mut texts = all(&*log, &name(stream)).await;
            assert_eq!(texts.len(), 16 * 20);
            for task in 0..32 {
                let own = format!("{task:02} ");
                let own = texts.iter().filter(|text| text.starts_with(&own));
                assert!(own.is_sorted());
            }
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), 16 * 20);
        }
    });
}

#[test]
fn a_second_process_can_not_open_a_folder_until_the_first_closes_it() {
    let folder = quick_folder();
    let first = open(folder.path()).unwrap();
    assert!(open(folder.path()).unwrap_err().is_locked());
    run(first.close()).unwrap();
    assert!(open(folder.path()).is_ok());
}

#[test]
fn many_streams_need_little_memory_and_survive_a_restart() {
    let folder = quick_folder();
    let settings = || {
        let mut settings = options(&Clock::system(), Limits::default());
        settings.hot_streams = 64;
        settings
    };
    let stream = |index: usize| name(&format!("many/{index:05}"));
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    run(async {
        let created: Vec<_> = (0..3000).map(|index| (stream(index), plain())).collect();
        for (stream, create) in created {
            log.create(&stream, create).await.unwrap();
        }
        for index in (0..3000).step_by(7) {
            append(&log, &stream(index), &["m"]).await;
        }
    });
    drop(log);
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    assert_eq!(log.usage().streams, 3000);
    run(async {
        let (mut seen, mut after) = (0, None);
        loop {
            let page = log.list("many/", after, 500).await.unwrap();
            for info in &page.streams {
                assert_eq!(info.name, stream(seen));
                assert_eq!(info.tail.number(), u64::from(seen.is_multiple_of(7)));
                seen += 1;
            }
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, 3000);
    });
}

#[test]
fn deleted_streams_leave_nothing_on_the_disk() {
    let folder = quick_folder();
    let log = open(folder.path()).unwrap();
    let stream = name("s");
    run(async {
        log.create(&stream, plain()).await.unwrap();
        for seq in 0..600 {
            let append = Append::new(vec![vec![b'm'; 100].into()]).by(&format!("p{seq}"), 0, 0);
            log.append(&stream, append).await.unwrap();
        }
        assert_eq!(log.usage().bytes, 60_000);
        log.delete(&stream).await.unwrap();
        log.create(&stream, plain()).await.unwrap();
        append(&log, &stream, &["new"]).await;
    });
    while log.reclaim().unwrap() {}
    assert_eq!((log.usage().bytes, log.usage().streams), (3, 1));
    drop(log);
    let log = open(folder.path()).unwrap();
    assert_eq!(run(all(&log, &stream)), ["new"]);
    let order = run(log.read_order(Position::START, 99, None)).unwrap();
    assert_eq!(order.entries.len(), 1);
    // After the messages and their stream's end.
    assert_eq!(order.entries[0].position.number(), 601);
}
