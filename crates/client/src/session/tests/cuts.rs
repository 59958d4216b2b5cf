use proptest::prelude::*;

use super::*;

/// The fate of one connection to the simulated server.
#[derive(Debug, Clone)]
enum Fate {
    Refused,
    Unavailable,
    /// This many bytes arrive, in chunks of this size, and then the connection breaks, falls silent
    /// or ends.
    Cut {
        after: usize,
        chunk: usize,
        by: Cut,
    },
}

#[derive(Debug, Clone, Copy)]
enum Cut {
    Break,
    Silence,
    End,
}

fn fate() -> impl Strategy<Value = Fate> {
    let by = prop_oneof![Just(Cut::Break), Just(Cut::Silence), Just(Cut::End)];
    prop_oneof![
        1 => Just(Fate::Refused),
        1 => Just(Fate::Unavailable),
        6 => (0..400_usize, 1..40_usize, by)
            .prop_map(|(after, chunk, by)| Fate::Cut { after, chunk, by }),
    ]
}

/// The server's response to a client with this last event id.
fn answer(payloads: &[String], last_event_id: &str) -> Vec<u8> {
    let seen: usize = if last_event_id.is_empty() {
        0
    } else {
        last_event_id.parse().unwrap()
    };
    let mut body = b"retry: 20\n: hello\n\n".to_vec();
    for (n, payload) in payloads.iter().enumerate().skip(seen) {
        let id = (n + 1).to_string();
        let meta = headwater_wire::Meta::default().id(&id);
        headwater_wire::sse::encode_text(&meta, payload, &mut body).unwrap();
    }
    body.extend_from_slice(b"event: headwater:end\nid: headwater:end\ndata: {}\n\n");
    body
}

/// Runs a session against the server to its end. Returns the data of its events.
fn run(payloads: &[String], fates: impl IntoIterator<Item = Fate>) -> Vec<String> {
    let mut session = items(Policy {
        retry_first_connect: true,
        max_attempts: 1000,
        ..policy()
    });
    let mut fates = fates.into_iter();
    let mut data = Vec::new();
    let mut incoming = None;
    loop {
        let (more, step) = drain(&mut session);
        data.extend(more);
        match step.unwrap() {
            Step::End => return data,
            Step::Connect(_) => match fates.next() {
                Some(Fate::Refused) => session.lost(refused()),
                Some(Fate::Unavailable) => session.head(&head(503, "text/html")),
                fate => {
                    let mut body = answer(payloads, session.last_event_id());
                    let mut chunk = 7;
                    let mut by = Cut::End;
                    if let Some(Fate::Cut {
                        after,
                        chunk: size,
                        by: how,
                    }) = fate
                    {
                        body.truncate(after);
                        (chunk, by) = (size, how);
                    }
                    session.head(&ok("text/event-stream"));
                    let chunks: Vec<_> = body.chunks(chunk).map(Bytes::copy_from_slice).collect();
                    incoming = Some((chunks.into_iter(), by));
                }
            },
            Step::Read => {
                let (chunks, by) = incoming.as_mut().expect("there is a body");
                match (chunks.next(), by) {
                    (Some(chunk), _) => session.chunk(chunk),
                    (None, Cut::Break) => session.lost(cut()),
                    (None, Cut::End) => session.end(),
                    (None, Cut::Silence) => {
                        session.lost(Error::new(Kind::Timeout {
                            idle: FAST.cap,
                            waited_for: "it",
                        }));
                    }
                }
            }
            Step::Piece(_) => unreachable!("drained"),
        }
    }
}

#[test]
fn cut_at_every_byte_everything_arrives_once() {
    let payloads: Vec<_> = (0..4).map(|n| format!("{{\"n\":{n}}}\nü{n}")).collect();
    for by in [Cut::Break, Cut::Silence, Cut::End] {
        for after in 0..answer(&payloads, "").len() {
            let fate = Fate::Cut {
                after,
                chunk: 3,
                by,
            };
            assert_eq!(
                run(&payloads, [fate]),
                payloads,
                "cut by {by:?} after {after}"
            );
        }
    }
}

proptest! {
    #[test]
    fn everything_arrives_once_across_any_broken_connections(
        payloads in prop::collection::vec("[a-z{}\"ü ]{0,30}", 0..12),
        fates in prop::collection::vec(fate(), 0..12),
    ) {
        prop_assert_eq!(run(&payloads, fates), payloads);
    }

    #[test]
    fn chunks_have_the_requested_size_and_join_to_the_body(
        body in prop::collection::vec(any::<u8>(), 0..300),
        size in 1..40_usize,
        cuts in prop::collection::vec(0..300_usize, 0..12),
    ) {
        let mut session = Session::new(Reading::Chunks(size), policy(), Str::default(), 7);
        session.head(&ok("application/octet-stream"));
        let mut pieces = Vec::new();
        let mut take = |session: &mut Session| loop {
            match session.next().unwrap() {
                Step::Piece(Piece::Bytes(bytes)) => pieces.push(bytes),
                step => return step,
            }
        };
        let mut rest = &body[..];
        for cut in cuts {
            let (chunk, more) = rest.split_at(cut.min(rest.len()));
            rest = more;
            session.chunk(Bytes::copy_from_slice(chunk));
            prop_assert_eq!(take(&mut session), Step::Read);
        }
        session.chunk(Bytes::copy_from_slice(rest));
        session.end();
        prop_assert_eq!(take(&mut session), Step::End);
        prop_assert_eq!(pieces.concat(), &body[..]);
        if let Some((last, others)) = pieces.split_last() {
            prop_assert!(others.iter().all(|piece| piece.len() == size));
            prop_assert!((1..=size).contains(&last.len()));
        }
    }
}
