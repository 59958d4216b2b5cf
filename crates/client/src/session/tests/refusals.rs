use super::*;

#[test]
fn retry_after_is_the_minimum_wait_up_to_the_cap() {
    for (named, waited) in [(47, 47), (60, 60), (61, 60), (9_999_999_999, 60)] {
        let mut session = open(policy(), "text/event-stream");
        session.lost(cut());
        connects(&mut session);
        session.head(&Head {
            retry_after: Some(Duration::from_secs(named)),
            ..head(429, "")
        });
        assert_eq!(connects(&mut session), Duration::from_secs(waited));
    }
}

#[test]
fn a_4xx_is_an_error_at_once_with_the_servers_problem() {
    let mut session = open(policy(), "text/event-stream");
    session.lost(cut());
    connects(&mut session);
    session.head(&head(404, "application/problem+json; charset=utf-8"));
    assert_eq!(session.next().unwrap(), Step::Read);
    session.chunk(Bytes::from_static(br#"{"title":"No such stream","#));
    session.chunk(Bytes::from_static(br#""detail":"/ticks"}"#));
    session.end();
    let error = fails(&mut session);
    assert!(error.is_status() && error.is_problem());
    assert_eq!(error.problem().unwrap().detail(), Some("/ticks"));
    assert_eq!(
        error.to_string(),
        "the server answered 404 Not Found: No such stream: /ticks"
    );
}

#[test]
fn an_endless_error_body_is_not_read_to_its_end() {
    let mut session = items(policy());
    session.head(&head(500, "text/plain"));
    for _ in 0..5 {
        session.chunk(Bytes::from(vec![b'x'; 16 * 1024]));
    }
    let error = fails(&mut session);
    assert_eq!(error.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert!(error.to_string().len() < 500, "nor shown");
}

#[test]
fn an_unreadable_content_type_is_an_error_that_names_the_readable_ones() {
    let mut session = items(policy());
    session.head(&ok("text/html"));
    let error = fails(&mut session);
    assert!(error.is_content_type());
    assert_eq!(
        error.to_string(),
        "the body is text/html, which is not a stream of items; it should be \
         application/x-ndjson, text/event-stream, application/json-seq, application/json or text/plain"
    );

    let mut session = open(policy(), "text/event-stream");
    session.lost(cut());
    connects(&mut session);
    session.head(&ok("application/x-ndjson"));
    let error = fails(&mut session);
    assert!(
        error.is_content_type(),
        "what began as SSE can't go on as anything else"
    );
}

#[test]
fn an_unrequested_compressed_body_is_refused() {
    let mut session = items(policy());
    let content_encoding = Some("gzip".to_owned());
    session.head(&Head {
        content_encoding,
        ..ok("application/x-ndjson")
    });
    assert!(fails(&mut session).is_content_type());
}

#[test]
fn too_many_failed_attempts_are_an_error_with_their_number() {
    let mut session = open(policy(), "text/event-stream");
    session.lost(cut());
    for _ in 0..2 {
        connects(&mut session);
        session.lost(refused());
    }
    connects(&mut session);
    session.head(&head(503, "text/plain"));
    session.chunk(Bytes::from_static(b"maintenance\n"));
    session.end();
    let error = fails(&mut session);
    assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(
        error.to_string(),
        "the server answered 503 Service Unavailable: maintenance (gave up after 3 attempts in a row)"
    );
}

#[test]
fn the_first_connection_is_retried_only_if_enabled() {
    for failure in [refused, || {
        Error::new(Kind::Timeout {
            idle: FAST.cap,
            waited_for: "it",
        })
    }] {
        let mut session = items(policy());
        session.lost(failure());
        fails(&mut session);

        let mut session = items(Policy {
            retry_first_connect: true,
            ..policy()
        });
        for _ in 0..2 {
            session.lost(failure());
            connects(&mut session);
        }
        session.lost(failure());
        let error = fails(&mut session).to_string();
        assert!(
            error.ends_with("(gave up after 3 attempts in a row)"),
            "{error}"
        );
    }
}

#[test]
fn an_unavailable_server_is_asked_again_at_first_too() {
    for status in [502, 503, 504] {
        let mut session = items(policy());
        session.head(&Head {
            retry_after: Some(Duration::from_secs(47)),
            ..head(status, "text/plain")
        });
        assert_eq!(connects(&mut session), Duration::from_secs(47));
        session.head(&head(status, "text/plain"));
        connects(&mut session);
        session.head(&head(status, "text/plain"));
        session.end();
        let error = fails(&mut session).to_string();
        assert!(
            error.ends_with("(gave up after 3 attempts in a row)"),
            "{error}"
        );
    }
    let none = Policy {
        reconnect: false,
        ..policy()
    };
    let once = Policy {
        max_attempts: 1,
        ..policy()
    };
    let post = Policy {
        replayable: false,
        ..policy()
    };
    let raw = Session::new(Reading::Raw, policy(), Str::default(), 7);
    let sessions = [none, once, post].map(items).into_iter().chain([raw]);
    for (mut session, status) in sessions
        .zip([503; 4])
        .chain([404, 408, 429, 500, 501, 507].map(|status| (items(policy()), status)))
    {
        session.head(&head(status, "text/plain"));
        session.end();
        assert_eq!(fails(&mut session).status().unwrap(), status);
    }
}

#[test]
fn an_accepted_response_resets_the_count_of_failures() {
    let mut session = open(policy(), "text/event-stream");
    for _ in 0..20 {
        session.lost(cut());
        for _ in 0..2 {
            connects(&mut session);
            session.lost(refused());
        }
        connects(&mut session);
        session.head(&ok("text/event-stream"));
        assert_eq!(session.next().unwrap(), Step::Read);
    }
}
