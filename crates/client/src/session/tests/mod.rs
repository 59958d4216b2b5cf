mod cuts;
mod refusals;
mod renewals;

use super::*;
use headwater_wire::Backoff;

const FAST: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

fn policy() -> Policy {
    Policy {
        reconnect: true,
        replayable: true,
        retry_first_connect: false,
        max_attempts: 3,
        backoff: FAST,
    }
}

fn items(policy: Policy) -> Session {
    let reading = Reading::Items {
        format: None,
        limits: headwater_wire::Limits::default(),
    };
    Session::new(reading, policy, Str::default(), 7)
}

/// A session whose first response has this content type.
fn open(policy: Policy, content_type: &str) -> Session {
    let mut session = items(policy);
    assert_eq!(session.next().unwrap(), Step::Connect(Duration::ZERO));
    session.head(&ok(content_type));
    session
}

fn ok(content_type: &str) -> Head {
    head(200, content_type)
}

fn head(status: u16, content_type: &str) -> Head {
    Head {
        status: StatusCode::from_u16(status).unwrap(),
        content_type: Some(content_type.to_owned()),
        ..Head::default()
    }
}

fn cut() -> Error {
    Error::new(Kind::Truncated)
}

fn refused() -> Error {
    Error::new(Kind::Connect)
}

/// Returns the data of the events up to the next other step, and that step.
fn drain(session: &mut Session) -> (Vec<String>, Result<Step, Error>) {
    let mut data = Vec::new();
    loop {
        match session.next() {
            Ok(Step::Piece(Piece::Event(event))) => data.push(event.data.to_string()),
            Ok(Step::Piece(Piece::Bytes(bytes))) => {
                data.push(String::from_utf8(bytes.to_vec()).unwrap());
            }
            step => return (data, step),
        }
    }
}

/// Feeds a chunk, after which the session must request more. Returns the data of its events.
fn feed(session: &mut Session, chunk: &'static str) -> Vec<String> {
    session.chunk(Bytes::from_static(chunk.as_bytes()));
    let (data, step) = drain(session);
    assert_eq!(step.unwrap(), Step::Read);
    data
}

fn connects(session: &mut Session) -> Duration {
    match session.next().unwrap() {
        Step::Connect(after) => after,
        step => panic!("a reconnect was due, not {step:?}"),
    }
}

fn fails(session: &mut Session) -> Error {
    let error = session.next().expect_err("an error was due");
    assert_eq!(
        session.next().unwrap(),
        Step::End,
        "after the error comes the end"
    );
    error
}

#[test]
fn an_sse_stream_resumes_where_it_broke() {
    let mut session = open(policy(), "text/event-stream");
    assert_eq!(
        feed(
            &mut session,
            "id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata"
        ),
        ["a", "b"]
    );
    session.lost(cut());
    connects(&mut session);
    assert_eq!(*session.last_event_id(), "2");
    session.head(&ok("text/event-stream"));
    assert_eq!(feed(&mut session, "id: 3\ndata: c\n\n"), ["c"]);
    assert_eq!(session.items(), 3);
}

#[test]
fn an_id_outlives_its_connection_until_it_is_reset() {
    let mut session = open(policy(), "text/event-stream");
    feed(&mut session, "id: 1\ndata: a\n\n");
    session.lost(cut());
    connects(&mut session);
    session.head(&ok("text/event-stream"));
    session.chunk(Bytes::from_static(
        b"data: b\n\nid: 2\ndata: c\n\nid:\ndata: d\n\n",
    ));
    let ids: Vec<_> = std::iter::from_fn(|| match session.next().unwrap() {
        Step::Piece(Piece::Event(event)) => Some(event.id.to_string()),
        _ => None,
    })
    .collect();
    assert_eq!(ids, ["1", "2", ""]);
    session.lost(cut());
    connects(&mut session);
    assert_eq!(*session.last_event_id(), "");
}

#[test]
fn a_response_that_ends_without_the_end_mark_is_resumed() {
    let mut session = open(policy(), "text/event-stream");
    feed(&mut session, "id: 1\ndata: a\n\n");
    session.end();
    assert!(connects(&mut session) >= Backoff::MIN);
    session.head(&ok("text/event-stream"));
    session.chunk(Bytes::from_static(
        b"event: headwater:end\nid: headwater:end\ndata: {}\n\nid: 9\ndata: x\n\n",
    ));
    assert_eq!(session.next().unwrap(), Step::End);
    session.lost(cut());
    assert_eq!(
        session.next().unwrap(),
        Step::End,
        "what comes later is of no interest"
    );
}

#[test]
fn a_204_is_the_end_at_first_and_after_a_reconnect() {
    let mut session = items(policy());
    session.head(&head(204, ""));
    assert_eq!(session.next().unwrap(), Step::End);

    let mut session = open(policy(), "text/event-stream");
    session.end();
    connects(&mut session);
    session.head(&head(204, ""));
    assert_eq!(session.next().unwrap(), Step::End);
}

#[test]
fn the_servers_retry_is_waited_for_and_kept_across_connections() {
    let mut session = open(policy(), "text/event-stream");
    feed(&mut session, "retry: 4321\nid: 1\ndata: a\n\n");
    for _ in 0..2 {
        session.end();
        assert_eq!(connects(&mut session), Duration::from_millis(4321));
        session.head(&ok("text/event-stream"));
        feed(&mut session, "data: a\n\n");
    }
}

#[test]
fn the_wait_grows_while_no_item_arrives_and_resets_after_one() {
    let mut session = open(policy(), "text/event-stream");
    let mut longest = Duration::ZERO;
    for _ in 0..200 {
        session.end();
        longest = longest.max(connects(&mut session));
        session.head(&ok("text/event-stream"));
        assert_eq!(session.next().unwrap(), Step::Read);
    }
    assert!(longest > FAST.cap / 2 && longest <= FAST.cap, "{longest:?}");
    feed(&mut session, "data: a\n\n");
    session.end();
    assert!(connects(&mut session) <= FAST.base);
}

#[test]
fn a_reported_error_ends_the_stream() {
    let mut session = open(policy(), "text/event-stream");
    session.chunk(Bytes::from_static(
        b"data: a\n\nevent: headwater:error\ndata: {\"title\":\"Out of ticks\"}\n\ndata: b\n\n",
    ));
    let (data, step) = drain(&mut session);
    assert_eq!(data, ["a"]);
    let error = step.unwrap_err();
    assert!(error.is_problem() && !error.is_status());
    assert_eq!(
        error.to_string(),
        "the server reports an error in the stream: Out of ticks"
    );
    assert_eq!(session.next().unwrap(), Step::End);
}

#[test]
fn an_applications_end_or_error_event_is_an_item() {
    for event in [
        "event: error\ndata: {\"title\":\"Oh\",\"status\":500}",
        "event: error\nid: headwater:end\ndata: x",
        "event: end\ndata: x",
        "event: end\nid: headwater:end\ndata: x",
        "event: headwater:end\ndata: x",
        "event: headwater:end\nid: 7\ndata: x",
        "id: headwater:end\ndata: x",
        "event: trimmed\ndata: x",
    ] {
        let mut session = open(policy(), "text/event-stream");
        let body = format!(
            "data: a\n\n{event}\n\nid: 8\ndata: b\n\nevent: headwater:end\nid: headwater:end\ndata\n\ndata: c\n\n"
        );
        session.chunk(Bytes::from(body));
        let (data, step) = drain(&mut session);
        assert_eq!(data.len(), 3, "{event}: {data:?}");
        assert_eq!(data[2], "b");
        assert_eq!(step.unwrap(), Step::End);
    }
}

#[test]
fn a_final_error_is_an_error_and_not_a_finished_stream() {
    let mut session = open(policy(), "text/event-stream");
    session.chunk(Bytes::from_static(
        b"data: a\n\nevent: headwater:error\nid: headwater:end\ndata: {\"title\":\"Torn\"}\n\n",
    ));
    let (data, step) = drain(&mut session);
    assert_eq!(data, ["a"]);
    assert!(step.unwrap_err().is_problem());
    assert_eq!(session.next().unwrap(), Step::End);
}

#[test]
fn other_formats_are_not_resumed_and_a_truncated_body_is_an_error() {
    for (content_type, body, complete) in [
        ("application/x-ndjson", "1\n2\n", true),
        ("application/x-ndjson", "1\n2\n{\"a\":", false),
        ("application/json", "[1,2,", false),
        ("application/json", "[1,2]", true),
        (
            "application/json-seq",
            "\u{1e}1\n\u{1e}2\n\u{1e}{\"a\"",
            false,
        ),
        ("text/plain", "1\n2\n", true),
    ] {
        let start = || {
            let mut session = open(policy(), content_type);
            session.chunk(Bytes::from_static(body.as_bytes()));
            session
        };
        let mut session = start();
        session.end();
        let (data, step) = drain(&mut session);
        assert_eq!(data, ["1", "2"], "{content_type}: {body}");
        match step {
            Ok(step) => assert!(complete && step == Step::End, "{content_type}: {body}"),
            Err(error) => assert!(!complete && error.is_truncated(), "{error}"),
        }

        let mut session = start();
        assert_eq!(drain(&mut session).0, ["1", "2"]);
        session.lost(cut());
        assert!(fails(&mut session).is_truncated(), "{content_type}: {body}");
    }
}

#[test]
fn a_post_is_not_sent_again_and_its_end_ends_the_stream() {
    let post = Policy {
        replayable: false,
        retry_first_connect: true,
        ..policy()
    };
    let mut session = items(post.clone());
    session.lost(refused());
    assert!(fails(&mut session).is_connect());

    let mut session = open(post.clone(), "text/event-stream");
    session.lost(cut());
    assert!(fails(&mut session).is_truncated());

    let mut session = open(post, "text/event-stream");
    assert_eq!(feed(&mut session, "data: a\n\n"), ["a"]);
    session.end();
    assert_eq!(session.next().unwrap(), Step::End);
}

#[test]
fn without_reconnect_a_truncated_body_is_an_error() {
    let once = Policy {
        reconnect: false,
        ..policy()
    };
    let mut session = open(once.clone(), "text/event-stream");
    session.end();
    assert_eq!(session.next().unwrap(), Step::End);
    let mut session = open(once, "text/event-stream");
    session.lost(cut());
    assert!(fails(&mut session).is_truncated());
}

#[test]
fn a_damaged_record_does_not_end_a_json_sequence() {
    let mut session = open(policy(), "application/json-seq");
    session.chunk(Bytes::from_static(b"\x1e1\n\x1e{\"a\"\n\x1e2\n"));
    session.end();
    let (data, step) = drain(&mut session);
    assert_eq!(data, ["1"]);
    step.unwrap_err();
    let (data, step) = drain(&mut session);
    assert_eq!((data, step.unwrap()), (vec!["2".to_owned()], Step::End));
}

#[test]
fn a_json_body_that_is_not_an_array_is_one_item() {
    for chunks in [vec![" \n", "{\"a\":", "1}\n"], vec!["{\"a\":1}"]] {
        let mut session = open(policy(), "application/vnd.thing+json");
        for chunk in chunks {
            assert_eq!(feed(&mut session, chunk), [""; 0]);
        }
        session.end();
        let (data, step) = drain(&mut session);
        assert_eq!(data[0].trim(), "{\"a\":1}");
        assert_eq!((data.len(), step.unwrap()), (1, Step::End));
    }
    for (body, test) in [
        ("{\"a\":", Error::is_truncated as fn(&Error) -> bool),
        ("", Error::is_truncated),
        ("1,2", Error::is_decode),
        ("\"\u{1}\"", Error::is_decode),
    ] {
        let mut session = open(policy(), "application/json");
        session.chunk(Bytes::from_static(body.as_bytes()));
        session.end();
        let error = fails(&mut session);
        assert!(test(&error), "{error}");
    }
    let limits = headwater_wire::Limits::default()
        .with_max_item_bytes(10)
        .with_max_depth(2);
    for (body, test) in [
        ("\"123456789\"", Error::is_too_large as fn(&Error) -> bool),
        ("{\"a\":[[]]}", Error::is_too_deep),
    ] {
        let reading = Reading::Items {
            format: None,
            limits,
        };
        let mut session = Session::new(reading, policy(), Str::default(), 7);
        session.head(&ok("application/json"));
        session.chunk(Bytes::from_static(body.as_bytes()));
        session.end();
        let error = fails(&mut session);
        assert!(test(&error), "{error}");
    }
}

#[test]
fn the_caller_may_name_the_format() {
    let limits = headwater_wire::Limits::default();
    let reading = Reading::Items {
        format: Some(Format::Ndjson),
        limits,
    };
    let mut session = Session::new(reading, policy(), Str::default(), 7);
    session.head(&ok("application/octet-stream"));
    assert_eq!(feed(&mut session, "1\n2\n"), ["1", "2"]);
    assert_eq!(session.format(), Some(Format::Ndjson));
}

#[test]
fn the_fast_path_yields_the_same_items_and_leaves_errors_to_the_slow_path() {
    for (content_type, chunk, items) in [
        ("application/x-ndjson", "1\n2\n\u{1}", 2),
        ("application/json", "[1,2,]", 2),
        // In these formats an item is more than its data, or an error affects one item only.
        ("application/json-seq", "\u{1e}1\n\u{1e}2\n", 0),
        ("text/event-stream", "data: 1\n\ndata: 2\n\n", 0),
        ("text/plain", "1\n2\n", 0),
    ] {
        let mut session = open(policy(), content_type);
        assert_eq!(session.next_json(), None, "{content_type}");
        session.chunk(Bytes::from_static(chunk.as_bytes()));
        let taken: Vec<Str> = std::iter::from_fn(|| session.next_json()).collect();
        assert_eq!(taken, ["1", "2"][..items], "{content_type}");
        assert_eq!(session.items(), items as u64, "{content_type}");
        session.end();
        let (rest, step) = drain(&mut session);
        assert_eq!(rest, ["1", "2"][items..], "{content_type}");
        match content_type {
            "application/x-ndjson" => assert!(step.unwrap_err().is_truncated()),
            "application/json" => assert!(step.unwrap_err().is_decode()),
            "text/event-stream" => assert!(matches!(step, Ok(Step::Connect(_)))),
            _ => assert_eq!(step.unwrap(), Step::End),
        }
    }
}
