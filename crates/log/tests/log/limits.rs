//! Limits, tested at the boundary.

use headwater_log::{Append, Create, Limits, Outcome, Settings, limits};

use crate::support::{append, every_engine_with, name, plain, run};

fn small() -> Limits {
    let mut limits = Limits::default();
    limits.message_bytes = 10;
    limits.append_bytes = 25;
    limits.append_messages = 3;
    limits.schema_bytes = 4;
    limits.streams = 2;
    limits
}

#[test]
fn messages_and_appends_are_limited() {
    every_engine_with(small(), |log, _, _| {
        run(async {
            let stream = name("s");
            log.create(&stream, plain()).await.unwrap();
            append(log, &stream, &["1234567890", "1234567890", "12345"]).await;
            let refused = async |messages: &[&str]| {
                let messages = messages
                    .iter()
                    .map(|text| text.to_string().into())
                    .collect();
                log.append(&stream, Append::new(messages))
                    .await
                    .unwrap_err()
            };
            let error = refused(&["12345678901"]).await;
            assert!(error.is_too_large() && error.limit() == Some(10), "{error}");
            let error = refused(&["1234567890", "1234567890", "123456"]).await;
            assert!(error.is_too_large() && error.limit() == Some(25), "{error}");
            let error = refused(&["", "", "", ""]).await;
            assert!(error.is_too_many() && error.limit() == Some(3), "{error}");
            assert!(refused(&[]).await.is_invalid());
            let mut create = plain();
            create.messages = vec!["12345678901".into()];
            assert!(
                log.create(&name("t"), create)
                    .await
                    .unwrap_err()
                    .is_too_large()
            );
            assert_eq!(log.info(&stream).await.unwrap().tail.number(), 3);
        });
    });
}

#[test]
fn metadata_of_streams_and_appends_is_limited() {
    every_engine_with(small(), |log, _, _| {
        run(async {
            let stream = name("s");
            let of_type = |bytes| Create::new(Settings::of_type(&"t".repeat(bytes)));
            let too_long = of_type(limits::CONTENT_TYPE_BYTES + 1);
            assert!(
                log.create(&stream, too_long)
                    .await
                    .unwrap_err()
                    .is_too_large()
            );
            let mut create = of_type(limits::CONTENT_TYPE_BYTES);
            create.settings.schema = Some("12345".into());
            assert!(
                log.create(&stream, create.clone())
                    .await
                    .unwrap_err()
                    .is_too_large()
            );
            create.settings.schema = Some("1234".into());
            create.settings.note = vec![b'n'; limits::NOTE_BYTES + 1].into();
            assert!(
                log.create(&stream, create.clone())
                    .await
                    .unwrap_err()
                    .is_too_large()
            );
            create.settings.note.truncate(limits::NOTE_BYTES);
            let made = log.create(&stream, create.clone()).await.unwrap();
            assert_eq!(made.info.settings, create.settings);

            let message = || Append::new(vec!["m".into()]);
            let id = "p".repeat(limits::PRODUCER_ID_BYTES);
            let most = limits::PRODUCER_NUMBER;
            let passes = log
                .append(&stream, message().by(&id, most, 0))
                .await
                .unwrap();
            assert!(matches!(passes, Outcome::Appended(_)));
            let longer = log
                .append(&stream, message().by(&(id.clone() + "p"), 0, 0))
                .await;
            assert!(longer.unwrap_err().is_too_large());
            assert!(
                log.append(&stream, message().by("", 0, 0))
                    .await
                    .unwrap_err()
                    .is_invalid()
            );
            let higher = log.append(&stream, message().by(&id, most + 1, 0)).await;
            assert!(higher.unwrap_err().is_invalid());
            let with_seq = |bytes| {
                let mut append = message();
                append.seq = Some("s".repeat(bytes));
                append
            };
            assert!(
                log.append(&stream, with_seq(limits::SEQ_BYTES))
                    .await
                    .is_ok()
            );
            let longer = log.append(&stream, with_seq(limits::SEQ_BYTES + 1)).await;
            assert!(longer.unwrap_err().is_too_large());
            let for_reason = |bytes| message().closing_for(vec![b'r'; bytes].into());
            let longer = log.append(&stream, for_reason(limits::REASON_BYTES + 1));
            assert!(longer.await.unwrap_err().is_too_large());
            let mut open = for_reason(1);
            open.close = false;
            assert!(log.append(&stream, open).await.unwrap_err().is_invalid());
            assert!(
                log.append(&stream, for_reason(limits::REASON_BYTES))
                    .await
                    .is_ok()
            );
        });
    });
}

#[test]
fn the_number_of_streams_is_limited() {
    every_engine_with(small(), |log, _, _| {
        run(async {
            log.create(&name("a"), plain()).await.unwrap();
            log.create(&name("b"), plain()).await.unwrap();
            let error = log.create(&name("c"), plain()).await.unwrap_err();
            assert!(error.is_too_many() && error.limit() == Some(2), "{error}");
            log.delete(&name("a")).await.unwrap();
            assert!(log.create(&name("c"), plain()).await.unwrap().is_new);
        });
    });
}

#[test]
fn the_depth_of_forks_is_limited() {
    every_engine_with(Limits::default(), |log, _, _| {
        run(async {
            let stream = |depth| name(&format!("f{depth}"));
            log.create(&stream(0), plain()).await.unwrap();
            append(log, &stream(0), &["root"]).await;
            for depth in 1..=limits::FORK_DEPTH + 1 {
                let mut create = plain();
                create.fork = Some(headwater_log::ForkFrom {
                    source: stream(depth - 1),
                    at: None,
                    of: None,
                    skip: headwater_log::Skip::NONE,
                });
                let made = log.create(&stream(depth), create).await;
                if depth > limits::FORK_DEPTH {
                    assert!(made.unwrap_err().is_too_many());
                } else {
                    made.unwrap();
                    assert_eq!(crate::support::all(log, &stream(depth)).await, ["root"]);
                }
            }
        });
    });
}
