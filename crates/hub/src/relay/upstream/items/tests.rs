use std::time::Duration;

use bytes::Bytes;
use headwater::StatusCode;
use proptest::{collection::vec, prelude::*};

use crate::{
    limits::{FEED_MOST_WAIT, UpstreamLimits},
    relay::upstream::{
        Fault, Item, Kind, Resume,
        tests::session::{self, Lost, Session, Step},
    },
};
use headwater_client::internals::Head;

fn feed() -> Session {
    Session::new(Kind::Sse, true, UpstreamLimits::default(), 7)
}

fn one_answer(kind: Kind) -> Session {
    Session::new(kind, false, UpstreamLimits::default(), 7)
}

fn push(session: &mut Session, chunk: &'static [u8]) -> Vec<String> {
    session.chunk(Bytes::from_static(chunk));
    items(session)
}

/// Returns all items that are available.
fn items(session: &mut Session) -> Vec<String> {
    let mut items = Vec::new();
    loop {
        match session.next() {
            Step::Give(Item { bytes, .. }) => items.push(bytes.escape_ascii().to_string()),
            Step::End | Step::Fail(_) => panic!("it is over, after {items:?}"),
            Step::Read | Step::Connect(_) => break,
        }
        if session.is_over() {
            break;
        }
    }
    items
}

fn head(status: u16) -> Head {
    session::head(StatusCode::from_u16(status).unwrap(), "text/event-stream")
}

#[track_caller]
fn wait(session: &mut Session) -> Duration {
    match session.next() {
        Step::Connect(after) => after,
        other => panic!("{other:?} is no wait"),
    }
}

#[test]
fn the_end_of_a_response_without_ids_is_the_end() {
    let mut session = one_answer(Kind::Sse);
    assert_eq!(
        push(&mut session, b"id: 1\ndata: a\n\ndata: b"),
        ["id: 1\\ndata: a\\n\\n"]
    );
    session.end();
    let Step::Give(item) = session.next() else {
        panic!("what is left is the last item")
    };
    assert_eq!(
        (&item.bytes[..], item.id.as_deref()),
        (&b"data: b"[..], Some("1"))
    );
    assert_eq!(session.next(), Step::End);
    assert_eq!(session.next(), Step::End);
}

#[test]
fn a_truncated_response_is_a_fault_without_partial_items() {
    for kind in [Kind::Sse, Kind::Ndjson, Kind::Json, Kind::Text, Kind::Bytes] {
        let mut session = one_answer(kind);
        session.lost(Lost::Cut);
        assert_eq!(session.next(), Step::Fail(Fault::Truncated));
        assert_eq!(session.next(), Step::End);
    }
    let mut session = one_answer(Kind::Sse);
    assert_eq!(push(&mut session, b"id: 1\ndata: a\n\ndata: b\n").len(), 1);
    session.lost(Lost::Cut);
    assert_eq!(session.next(), Step::Fail(Fault::Truncated));

    let mut session = one_answer(Kind::Ndjson);
    session.lost(Lost::Idle(Duration::from_secs(600)));
    assert_eq!(
        session.next(),
        Step::Fail(Fault::Idle(Duration::from_secs(600)))
    );
}

#[test]
fn nothing_after_done_is_returned() {
    for mut session in [feed(), one_answer(Kind::Sse)] {
        let found = push(
            &mut session,
            b"data: {\"a\":1}\n\ndata: [DONE]\n\ndata: more\n\n",
        );
        assert_eq!(found, ["data: {\\\"a\\\":1}\\n\\n", "data: [DONE]\\n\\n"]);
        assert!(session.is_over());
        assert_eq!(session.next(), Step::End);
    }
    let mut session = one_answer(Kind::Sse);
    assert_eq!(push(&mut session, b"data: [DONE] not\n\n").len(), 1);
    assert!(!session.is_over());
}

#[test]
fn the_end_of_a_headwater_stream_is_the_end() {
    let mut session = feed();
    let found = push(
        &mut session,
        b"id: 1\ndata: a\n\nevent: headwater:end\nid: headwater:end\ndata\n\n",
    );
    assert_eq!(found.len(), 2);
    assert_eq!(session.next(), Step::End);
}

#[test]
fn a_failure_reported_by_a_headwater_server_is_an_item_and_the_fault() {
    for event in [
        &b"event: headwater:error\ndata: {\"title\":\"Oh\",\"status\":500,\"detail\":\"no\"}\n\n"[..],
        b"event: headwater:error\nid: headwater:end\ndata: {\"title\":\"Oh\",\"status\":500,\"detail\":\"no\"}\n\n",
    ] {
        let mut session = feed();
        assert_eq!(push(&mut session, b"id: 1\ndata: a\n\n").len(), 1);
        assert_eq!(push(&mut session, event).len(), 1);
        let Step::Fail(fault @ Fault::Reported(_)) = session.next() else {
            panic!("it said that it failed")
        };
        assert_eq!(fault.to_string(), "it said: no");
        let problem = serde_json::to_value(fault.problem()).unwrap();
        assert_eq!(problem["status"], 502);
        assert_eq!(problem["upstreamProblem"]["title"], "Oh");
    }
}

#[test]
fn the_upstreams_own_end_and_error_events_are_events() {
    for event in [
        &b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded\"}}\n\n"[..],
        b"event: error\ndata: {\"title\":\"Oh\",\"status\":500,\"detail\":\"no\"}\n\n",
        b"event: error\nid: headwater:end\ndata: {\"title\":\"Oh\",\"status\":500}\n\n",
        b"event: end\ndata: {\"items\":1}\n\n",
        b"event: end\nid: headwater:end\ndata: {\"items\":1}\n\n",
        b"id: headwater:end\ndata: x\n\n",
        b"event: trimmed\ndata: x\n\n",
    ] {
        for mut session in [feed(), one_answer(Kind::Sse)] {
            assert_eq!(push(&mut session, event).len(), 1);
            assert_eq!(push(&mut session, b"id: 2\ndata: b\n\n").len(), 1);
            assert!(!session.is_over());
        }
    }
}

#[test]
fn a_position_is_resumed_from_and_other_control_events_end_the_relay() {
    let mut session = feed();
    let position = b"event: headwater:position\nid: 7\ndata: {\"offset\":\"7\"}\n\n";
    assert_eq!(push(&mut session, position).len(), 0);
    session.lost(Lost::Cut);
    wait(&mut session);
    assert_eq!(session.last_event_id(), "7");
    session.head(&head(200));
    assert_eq!(push(&mut session, b"id: 7\ndata: a\n\n").len(), 1);

    for event in [
        &b"event: headwater:reset\nid: 0\ndata: {}\n\n"[..],
        b"event: headwater:end\ndata: {}\n\n",
        b"event: headwater:end\nid: 9\ndata: {}\n\n",
        b"event: headwater:trimmed\nid: 9\ndata: {}\n\n",
    ] {
        for mut session in [feed(), one_answer(Kind::Sse)] {
            assert_eq!(push(&mut session, b"id: 1\ndata: a\n\n").len(), 1);
            session.chunk(Bytes::from_static(event));
            let Step::Fail(fault @ Fault::Control(_)) = session.next() else {
                panic!("it can't be passed on")
            };
            assert!(fault.to_string().contains("headwater:"), "{fault}");
        }
    }
}

#[test]
fn a_feed_resumes_after_its_last_id_without_duplicates() {
    for clean in [true, false] {
        let mut session = feed();
        assert_eq!(
            push(
                &mut session,
                b"id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: cu"
            )
            .len(),
            2
        );
        if clean {
            session.end();
        } else {
            session.lost(Lost::Cut);
        }
        assert!(wait(&mut session) <= Duration::from_secs(1));
        assert_eq!(session.last_event_id(), "2");
        session.head(&head(200));
        assert_eq!(
            push(
                &mut session,
                b": hi\n\nid: 2\ndata: b\n\nid: 3\ndata: cut\n\ndata: d\n\n"
            ),
            ["id: 3\\ndata: cut\\n\\n", "data: d\\n\\n"]
        );
        assert_eq!(session.last_event_id(), "3");
    }
}

#[test]
fn several_events_of_one_connection_may_have_the_same_id() {
    let mut session = feed();
    assert_eq!(
        push(&mut session, b"id: 1\ndata: a\n\nid: 1\ndata: b\n\n").len(),
        2
    );
}

#[test]
fn a_feed_also_resumes_after_an_id_without_an_event() {
    let mut session = feed();
    assert_eq!(push(&mut session, b"id: 9\n\n").len(), 0);
    session.lost(Lost::Cut);
    wait(&mut session);
    assert_eq!(session.last_event_id(), "9");
}

#[test]
fn a_response_without_ids_or_to_another_method_is_not_resumed() {
    let mut session = feed();
    assert_eq!(push(&mut session, b"data: a\n\n: hi\n\n").len(), 2);
    session.lost(Lost::Cut);
    assert_eq!(session.next(), Step::Fail(Fault::Truncated));

    let mut session = one_answer(Kind::Sse);
    assert_eq!(push(&mut session, b"id: 1\ndata: a\n\n: hi\n\n").len(), 2);
    session.end();
    assert_eq!(session.next(), Step::End);
}

#[test]
fn no_content_ends_a_feed_and_an_error_status_is_a_fault() {
    let broken = || {
        let mut session = feed();
        push(&mut session, b"id: 1\ndata: a\n\n");
        session.end();
        wait(&mut session);
        session
    };
    let mut session = broken();
    session.head(&head(204));
    assert_eq!(session.next(), Step::End);

    for status in [301, 400, 401, 404, 410] {
        let mut session = broken();
        session.head(&head(status));
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(session.next(), Step::Fail(Fault::Status(status)));
    }

    let mut session = broken();
    session.head(&Head {
        content_type: Some("text/html".to_owned()),
        ..head(200)
    });
    assert!(matches!(session.next(), Step::Fail(Fault::Changed(_))));
    let mut session = broken();
    session.head(&Head {
        content_encoding: Some("gzip".to_owned()),
        ..head(200)
    });
    assert!(matches!(session.next(), Step::Fail(Fault::Changed(_))));
}

#[test]
fn the_attempts_of_a_failing_feed_are_limited() {
    let limits = UpstreamLimits {
        attempts: 3,
        ..UpstreamLimits::default()
    };
    let mut session = Session::new(Kind::Sse, true, limits, 7);
    push(&mut session, b"id: 1\ndata: a\n\n");
    session.end();
    wait(&mut session);
    session.head(&head(503));
    wait(&mut session);
    session.lost(Lost::Cut);
    wait(&mut session);
    // It responds again, so the count of attempts restarts.
    session.head(&head(200));
    session.end();
    wait(&mut session);
    for status in [429, 500] {
        session.head(&head(status));
        wait(&mut session);
    }
    session.lost(Lost::Idle(Duration::from_secs(60)));
    let fault = Fault::GaveUp {
        attempts: 3,
        last: "no answer within 60 s".to_owned(),
    };
    assert_eq!(session.next(), Step::Fail(fault));
}

#[test]
fn the_upstream_can_set_the_wait() {
    let mut session = feed();
    push(&mut session, b"retry: 2500\nid: 1\ndata: a\n\n");
    session.end();
    assert_eq!(wait(&mut session), Duration::from_millis(2500));
    session.head(&Head {
        retry_after: Some(Duration::from_secs(50)),
        ..head(429)
    });
    assert_eq!(wait(&mut session), Duration::from_secs(50));
    session.head(&Head {
        retry_after: Some(Duration::from_secs(1 << 40)),
        ..head(503)
    });
    assert_eq!(wait(&mut session), FEED_MOST_WAIT);
}

#[test]
fn the_wait_grows_while_a_feed_has_no_items() {
    let mut longest = [Duration::ZERO; 8];
    for seed in 0..200 {
        let mut session = Session::new(Kind::Sse, true, UpstreamLimits::default(), seed);
        push(&mut session, b"id: 1\ndata: a\n\n");
        for longest in &mut longest {
            session.lost(Lost::Cut);
            *longest = wait(&mut session).max(*longest);
            session.head(&head(200));
        }
    }
    for (at, longest) in longest.iter().enumerate() {
        let most = Duration::from_secs((1 << at).min(30));
        assert!(
            *longest <= most && *longest > most * 9 / 10,
            "{at}: {longest:?}"
        );
    }
}

#[test]
fn a_feed_resumes_after_a_restart() {
    let resume = Resume {
        last_event_id: "5".into(),
        seen: vec!["4".into()],
    };
    let mut session = Session::resume(&resume, UpstreamLimits::default(), 7);
    assert_eq!(wait(&mut session), Duration::ZERO);
    assert_eq!(session.last_event_id(), "5");
    session.head(&head(200));
    assert_eq!(
        push(
            &mut session,
            b"id: 4\ndata: a\n\nid: 5\ndata: a\n\nid: 6\ndata: b\n\n"
        ),
        ["id: 6\\ndata: b\\n\\n"]
    );
    session.lost(Lost::Cut);
    wait(&mut session);
}

#[test]
fn a_response_is_limited_in_size_and_a_feed_is_not() {
    let limits = UpstreamLimits {
        total_bytes: 18,
        ..UpstreamLimits::default()
    };
    let mut session = Session::new(Kind::Sse, false, limits.clone(), 7);
    assert_eq!(push(&mut session, b"data: a\n\ndata: b\n\n").len(), 2);
    session.end();
    assert_eq!(session.next(), Step::End);

    let mut session = Session::new(Kind::Sse, false, limits.clone(), 7);
    assert_eq!(push(&mut session, b"data: a\n\ndata: b\n\n").len(), 2);
    session.chunk(Bytes::from_static(b"\n"));
    assert_eq!(
        session.next(),
        Step::Fail(Fault::BodyTooLarge { limit: 18 })
    );

    let mut session = Session::new(Kind::Sse, true, limits, 7);
    for _ in 0..10 {
        assert_eq!(push(&mut session, b"id: 1\ndata: a\n\n").len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Simulates a server that resumes after the id it receives, or arbitrarily a few events before
    /// it.
    #[test]
    fn a_feed_that_breaks_anywhere_returns_every_event_once_and_in_order(
        cuts in vec((0..60_usize, 0..4_usize, any::<bool>()), 0..12),
        sizes in vec(1..20_usize, 1..4),
    ) {
        let event = |n: usize| format!(": c\n\nevent: e\nid: {n}\ndata: {n}\n\n");
        let kept = |n: usize| format!("event: e\nid: {n}\ndata: {n}\n\n");
        let mut session = feed();
        let mut found = Vec::new();
        let mut cuts = cuts.into_iter();
        loop {
            let last: usize = session.last_event_id().parse().unwrap_or(0);
            let cut = cuts.next();
            let back = cut.map_or(0, |(_, back, _)| back);
            let body: String = (1 + last.saturating_sub(back)..=20).map(event).collect();
            let len = cut.map_or(body.len(), |(len, ..)| len.min(body.len()));
            let mut rest = Bytes::from(body).slice(..len);
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                session.chunk(rest.split_to(rest.len().min(*size)));
                while let Step::Give(item) = session.next() {
                    found.push(String::from_utf8(item.bytes.to_vec()).unwrap());
                }
            }
            let Some((.., clean)) = cut else {
                break;
            };
            if last == 0 && session.last_event_id().is_empty() {
                // It isn't known to be a feed yet.
                return Ok(());
            }
            if clean {
                session.end();
            } else {
                session.lost(Lost::Cut);
            }
            wait(&mut session);
            session.head(&head(200));
        }
        found.retain(|item| !item.starts_with(": c\n\n"));
        let expected: Vec<_> = (1..=20).map(kept).collect();
        prop_assert_eq!(found, expected);
    }
}
