//! Refused and expired tokens.

use super::*;

const EXPIRED: &str = r#"{"status":401,"code":"token_expired","detail":"the token has expired"}"#;

fn renewable(status: u16, content_type: &str) -> Head {
    Head {
        is_renewable: true,
        ..head(status, content_type)
    }
}

/// A session with a token, in the middle of an SSE stream after the event with the id 1.
fn streaming(policy: Policy) -> Session {
    let mut session = items(policy);
    session.head(&renewable(200, "text/event-stream"));
    assert_eq!(feed(&mut session, "id: 1\ndata: a\n\n"), ["a"]);
    session
}

/// Refuses the request, up to the next step.
fn refuse(session: &mut Session, detail: &str) {
    session.head(&renewable(401, "text/plain"));
    assert_eq!(session.next().unwrap(), Step::Read);
    session.chunk(Bytes::from(detail.to_owned()));
    session.end();
}

fn push(session: &mut Session, text: &str) {
    session.chunk(Bytes::from(text.to_owned()));
}

#[test]
fn a_refused_token_is_renewed_once_and_the_stream_resumes() {
    let mut session = streaming(policy());
    session.lost(cut());
    connects(&mut session);
    for _ in 0..3 {
        refuse(&mut session, "too old");
        assert_eq!(connects(&mut session), Duration::ZERO);
        assert!(session.is_refused());
        let refusal = session.renewed(false).unwrap().to_string();
        assert_eq!(refusal, "the server answered 401 Unauthorized: too old");
        assert!(!session.is_refused());
        assert_eq!(*session.last_event_id(), "1");
        session.head(&renewable(200, "text/event-stream"));
        assert_eq!(session.next().unwrap(), Step::Read);
        session.lost(cut());
        connects(&mut session);
    }
}

#[test]
fn the_first_request_is_repeated_with_another_token_whatever_its_method() {
    let mut session = items(Policy {
        replayable: false,
        max_attempts: 1,
        ..policy()
    });
    refuse(&mut session, "");
    assert_eq!(connects(&mut session), Duration::ZERO);
    assert!(session.renewed(false).is_some());
    session.head(&renewable(200, "application/x-ndjson"));
    assert_eq!(feed(&mut session, "1\n"), ["1"]);
}

#[test]
fn the_same_token_again_is_the_servers_error_at_once() {
    let mut session = streaming(policy());
    session.lost(cut());
    connects(&mut session);
    refuse(&mut session, "too old");
    assert!(session.renewed(true).is_none());
    let error = fails(&mut session);
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));

    let mut session = streaming(policy());
    push(
        &mut session,
        &format!("event: headwater:error\ndata: {EXPIRED}\n\n"),
    );
    connects(&mut session);
    assert!(session.renewed(true).is_none());
    let error = fails(&mut session);
    assert_eq!(error.problem().unwrap().status(), Some(401));
}

#[test]
fn two_refused_tokens_in_a_row_are_the_servers_error() {
    let mut session = streaming(policy());
    push(
        &mut session,
        &format!("event: headwater:error\ndata: {EXPIRED}\n\n"),
    );
    connects(&mut session);
    session.renewed(false);
    refuse(&mut session, "one");
    connects(&mut session);
    session.renewed(false);
    refuse(&mut session, "two");
    let error = fails(&mut session);
    assert_eq!(
        error.to_string(),
        "the server answered 401 Unauthorized: two (gave up after 2 attempts in a row)"
    );
}

#[test]
fn refusals_between_other_failures_are_limited_by_the_attempts() {
    let mut session = streaming(policy());
    session.lost(cut());
    connects(&mut session);
    refuse(&mut session, "one");
    session.renewed(false);
    session.lost(refused());
    connects(&mut session);
    refuse(&mut session, "two");
    session.renewed(false);
    session.lost(refused());
    assert!(fails(&mut session).is_connect());
}

#[test]
fn a_failing_source_still_learns_later_that_the_token_was_refused() {
    let mut session = streaming(policy());
    session.lost(cut());
    connects(&mut session);
    refuse(&mut session, "too old");
    session.lost(Error::new(Kind::Token("there is none".to_owned())));
    connects(&mut session);
    assert!(session.is_refused());
}

#[test]
fn an_expired_token_is_renewed_after_the_last_item_whatever_the_events_id_is() {
    for event in ["headwater:error", "error"] {
        let mut session = streaming(policy());
        push(
            &mut session,
            &format!("id: 2\ndata: b\n\nevent: {event}\ndata: {EXPIRED}\n\n"),
        );
        let (data, step) = drain(&mut session);
        assert_eq!(data, ["b"]);
        assert!(matches!(step, Ok(Step::Connect(_))) && session.is_refused());
        assert_eq!(*session.last_event_id(), "2");
    }
    // The id of a permanent error, which stops a native EventSource.
    let mut session = streaming(policy());
    push(
        &mut session,
        &format!("id: headwater:end\nevent: headwater:error\ndata: {EXPIRED}\n\n"),
    );
    connects(&mut session);
    assert_eq!(*session.last_event_id(), "1");
    session.renewed(false);
    session.head(&renewable(200, "text/event-stream"));
    // The same event before the first id of the new connection.
    push(
        &mut session,
        &format!("id: headwater:end\nevent: headwater:error\ndata: {EXPIRED}\n\n"),
    );
    connects(&mut session);
    assert_eq!(*session.last_event_id(), "1");
}

#[test]
fn an_expired_token_is_an_error_without_a_source_or_a_reconnect() {
    let event = format!("event: headwater:error\ndata: {EXPIRED}\n\n");
    let mut fixed = open(policy(), "text/event-stream");
    push(&mut fixed, &event);
    let mut once = streaming(Policy {
        reconnect: false,
        ..policy()
    });
    push(&mut once, &event);
    for session in [&mut fixed, &mut once] {
        let error = fails(session);
        assert_eq!(
            error.problem().unwrap().detail(),
            Some("the token has expired")
        );
    }
}

#[test]
fn an_item_of_the_type_error_is_an_item() {
    let mut session = streaming(policy());
    for data in [EXPIRED, r#"{"status":401}"#, "no JSON"] {
        let id = fastrand::u64(..);
        push(
            &mut session,
            &format!("event: error\nid: {id}\ndata: {data}\n\n"),
        );
        let (given, step) = drain(&mut session);
        assert_eq!(
            (&*given, step.unwrap()),
            (&[data.to_owned()][..], Step::Read)
        );
    }
}

#[test]
fn a_401_without_a_source_and_a_403_are_final() {
    for head in [head(401, "text/plain"), renewable(403, "text/plain")] {
        let mut session = streaming(policy());
        session.lost(cut());
        connects(&mut session);
        session.head(&head);
        session.end();
        assert_eq!(fails(&mut session).status(), Some(head.status));
    }
}
