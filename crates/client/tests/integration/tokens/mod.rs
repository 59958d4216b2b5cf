//! Tokens: which requests carry one, and what follows a refused or expired one.

mod guard;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use headwater_client::{Error, StatusCode, Token, hub::ReadFrom};

use self::guard::Guard;
use crate::{
    hub::SOON,
    server::{Call, Server},
    twins::{cut_short, good},
};

const EXPIRED: &str = "event: headwater:error\n\
    data: {\"status\":401,\"code\":\"token_expired\",\"detail\":\"the token has expired\"}\n\n";

/// A source that counts how often it is asked: the tokens are `t0`, `t1` and so on. With a cache it
/// returns a token until that is refused.
fn counting(has_cache: bool) -> (Token, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, cached) = (Arc::clone(&asked), Mutex::new(None));
    let token = Token::from_fn(move |request| {
        let mut cached = cached.lock().unwrap();
        cached
            .take_if(|token: &mut String| !has_cache || request.refused() == Some(token.as_str()));
        let next = || format!("t{}", count.fetch_add(1, Ordering::SeqCst));
        Ok::<_, Error>(cached.get_or_insert_with(next).clone())
    });
    (token, asked)
}

/// The tokens of the requests so far.
fn sent(server: &Server) -> Vec<String> {
    let tokens = server.requests().into_iter().map(|request| {
        let value = request.header("authorization").unwrap_or_default();
        value.trim_start_matches("Bearer ").to_owned()
    });
    tokens.collect()
}

fn refuse(call: &mut Call) {
    let body = r#"{"title":"Unauthorized","status":401,"detail":"the token is too old"}"#;
    call.respond("401 Unauthorized", "application/problem+json", body);
}

/// Sends the next number, and the end mark after 5.
fn one_more(call: &mut Call) {
    let seen = call.request.header("last-event-id");
    let next = seen.map_or(1, |id| id.parse::<u32>().unwrap() + 1);
    call.start("text/event-stream");
    match next {
        6 => call.chunk("event: headwater:end\nid: headwater:end\ndata: {}\n\n"),
        n => call.chunk(format!("id: {n}\ndata: {n}\n\n")),
    }
}

twins! {
    fn every_attempt_asks_for_a_token() {
        let server = Server::start(one_more);
        let (token, asked) = counting(false);
        let request = client::get(server.url("/")).token(token).backoff(SOON, SOON);
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1, 2, 3, 4, 5]);
        assert_eq!(sent(&server), ["t0", "t1", "t2", "t3", "t4", "t5"]);
        assert_eq!(asked.load(Ordering::SeqCst), 6);
    }

    fn a_refused_token_is_renewed_on_a_reconnect_and_nothing_is_lost_or_repeated() {
        // Each token is good for one connection.
        let seen = Mutex::new(Vec::new());
        let server = Server::start(move |call| {
            let token = call.request.header("authorization").unwrap();
            let is_new = !seen.lock().unwrap().contains(&token);
            seen.lock().unwrap().push(token);
            match is_new {
                true => one_more(call),
                false => refuse(call),
            }
        });
        let (token, asked) = counting(true);
        let waits = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&waits);
        let request = client::get(server.url("/"))
            .token(token)
            .backoff(SOON, SOON)
            .on_wait(move |wait| told.lock().unwrap().push((wait.delay, wait.reason.clone())));
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1, 2, 3, 4, 5]);
        assert_eq!(asked.load(Ordering::SeqCst), 6);
        assert_eq!(
            sent(&server),
            ["t0", "t0", "t1", "t1", "t2", "t2", "t3", "t3", "t4", "t4", "t5"]
        );
        let waits = waits.lock().unwrap();
        let reason = "the server answered 401 Unauthorized: the token is too old; \
            continuing with another token";
        assert!(waits.contains(&(Duration::ZERO, reason.to_owned())), "{waits:?}");
    }

    fn a_token_that_expires_in_mid_stream_is_renewed_and_the_stream_resumes() {
        for event in [EXPIRED.to_owned(), EXPIRED.replace("headwater:error", "error")] {
            let server = Server::start(move |call| {
                one_more(call);
                call.chunk(&event);
            });
            let (token, asked) = counting(true);
            let waits = Arc::new(Mutex::new(Vec::new()));
            let told = Arc::clone(&waits);
            let request = client::get(server.url("/"))
                .token(token)
                .backoff(SOON, SOON)
                .on_wait(move |wait| told.lock().unwrap().push(wait.reason.clone()));
            assert_eq!(good(all(wait(request.stream::<u32>()))), [1, 2, 3, 4, 5]);
            assert_eq!(sent(&server), ["t0", "t1", "t2", "t3", "t4", "t5"]);
            assert_eq!(asked.load(Ordering::SeqCst), 6);
            let reason = "the server reports an error in the stream: the token has expired; \
                continuing with another token";
            assert_eq!(*waits.lock().unwrap(), [reason; 5]);
        }
    }

    fn without_another_token_an_expired_one_is_the_servers_error_at_once() {
        let server = Server::start(|call| {
            one_more(call);
            call.chunk(EXPIRED);
        });
        for request in [
            client::get(server.url("/")).token(Token::fixed("t")),
            client::get(server.url("/")).bearer("t"),
        ] {
            let (items, error) = cut_short(all(wait(request.stream::<u32>())));
            assert_eq!(items, [1]);
            assert_eq!(error.problem().unwrap().status(), Some(401));
        }
        assert_eq!(server.requests().len(), 2);
    }

    fn a_refused_token_is_final_if_the_source_returns_it_again_or_the_next_is_refused_too() {
        let server = Server::start(refuse);
        let error = wait(client::get(server.url("/")).token(Token::fixed("t")).text()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(sent(&server), ["t"]);
        let (token, asked) = counting(true);
        let error = wait(client::get(server.url("/")).token(token).text()).unwrap_err();
        assert_eq!(error.problem().unwrap().detail(), Some("the token is too old"));
        assert_eq!((sent(&server).len(), asked.load(Ordering::SeqCst)), (3, 2));
    }

    fn a_403_is_final() {
        let server = Server::start(|call| call.respond_with("403 Forbidden", "x-a: b"));
        let (token, asked) = counting(false);
        let error = wait(client::get(server.url("/")).token(token).text()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::FORBIDDEN));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    fn a_post_with_a_refused_token_is_sent_again_with_its_body() {
        let server = Server::start(|call| match call.n {
            0 => refuse(call),
            _ => call.respond("200 OK", "text/plain", call.request.body.clone()),
        });
        let (token, _) = counting(true);
        let request = client::post(server.url("/")).token(token).body("once");
        assert_eq!(wait(request.text()).unwrap(), "once");
        assert_eq!(sent(&server), ["t0", "t1"]);
    }

    fn a_truncated_body_of_another_format_is_an_error_with_a_source_too() {
        let server = Server::start(|call| {
            call.start("application/x-ndjson");
            call.chunk("1\n2\n");
        });
        let (token, _) = counting(false);
        let request = client::get(server.url("/")).token(token);
        let (items, error) = cut_short(all(wait(request.stream::<u32>())));
        assert!(items == [1, 2] && error.is_truncated(), "{error}");
    }

    fn a_redirect_to_another_origin_drops_the_token_and_its_401_asks_for_none() {
        let target = Server::start(refuse);
        let to = format!("location: {}", target.url("/there"));
        let server = Server::start(move |call| call.respond_with("307 Temporary Redirect", &to));
        let (token, asked) = counting(false);
        let client = client::Client::builder().token(token).build().unwrap();
        let error = wait(client.get(server.url("/")).text()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
        wait(client.stream(server.url("/")).info()).unwrap_err();
        assert_eq!(sent(&server), ["t0", "t1"]);
        assert_eq!(sent(&target), ["", ""]);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    fn the_last_setting_counts_and_the_requests_own_replaces_the_clients() {
        let server = Server::answering("text/plain", "x");
        let url = || server.url("/");
        let build = |builder: client::ClientBuilder| builder.build().unwrap();
        let token = || Token::fixed("token");
        let with_token = build(client::Client::builder().bearer("bearer").token(token()));
        let with_bearer = build(client::Client::builder().token(token()).bearer("bearer"));
        wait(with_token.get(url()).text()).unwrap();
        wait(with_bearer.get(url()).text()).unwrap();
        wait(with_token.get(url()).bearer("own").text()).unwrap();
        wait(with_bearer.get(url()).token(Token::fixed("own")).text()).unwrap();
        wait(client::get(url()).token(token()).header("Authorization", "Bearer own").text()).unwrap();
        wait(client::get(url()).bearer("bearer").token(token()).text()).unwrap();
        wait(with_token.stream(url()).token(Token::fixed("own")).info()).unwrap();
        let wanted = ["token", "bearer", "own", "own", "own", "token", "own"];
        assert_eq!(sent(&server), wanted);
    }

    fn a_gather_does_not_send_the_clients_token() {
        let server = Server::answering("text/plain", "x");
        let client = client::Client::builder().token(Token::fixed("secret")).build().unwrap();
        let results = gathered(client::gather([server.url("/")]).client(&client).send());
        assert!(results[0].outcome.is_ok());
        assert_eq!(sent(&server), [""]);
    }

    fn a_failing_source_is_an_error_and_on_a_reconnect_is_asked_again() {
        let server = Server::start(one_more);
        let failing = || Token::from_async_fn(|_| async { Err::<String, _>("not logged in") });
        let error = wait(client::get(server.url("/")).token(failing()).text()).unwrap_err();
        assert!(error.is_token() && error.to_string().ends_with(": not logged in"), "{error}");
        let error = wait(client::stream(server.url("/")).token(failing()).info()).unwrap_err();
        assert!(error.is_token(), "{error}");
        assert!(server.requests().is_empty());

        let asked = AtomicUsize::new(0);
        let token = Token::from_fn(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Ok("t".to_owned()),
            _ => Err("not logged in"),
        });
        let request = client::get(server.url("/")).token(token).backoff(SOON, SOON);
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1, 2, 3, 4, 5]);
    }

    fn a_source_that_hangs_ends_with_the_idle_timeout() {
        let server = Server::start(one_more);
        let hanging = || Token::from_async_fn(|_| std::future::pending::<Result<String, Error>>());
        let client = client::Client::builder()
            .idle_timeout(Duration::from_millis(50))
            .token(hanging())
            .build()
            .unwrap();
        let first = wait(client.get(server.url("/")).text()).unwrap_err();
        let second = wait(client.stream(server.url("/")).info()).unwrap_err();
        for error in [first, second] {
            assert!(error.is_timeout() && error.to_string().contains("the token"), "{error}");
        }
    }

    fn a_writer_stores_everything_once_although_its_tokens_are_refused() {
        let guard = Guard::new(5, usize::MAX);
        let hub = guard.hub();
        let builder = client::Client::builder().token(guard.token()).backoff(SOON, SOON);
        let stream = builder.build().unwrap().stream(hub.url("a"));
        let writer = wait(stream.writer().create(true).max_batch_bytes(1).open()).unwrap();
        for n in 0..200_u32 {
            wait(writer.append(&n)).unwrap();
        }
        wait(writer.flush()).unwrap();
        wait(writer.close_stream()).unwrap();
        assert!(guard.refused() > 10, "{}", guard.refused());
        let all: Vec<_> = (0..200).collect();
        assert_eq!(guard.content(&hub.url("a")), all);
    }

    fn a_repeating_producer_is_exact_although_its_tokens_are_refused() {
        // Repeated appends are acknowledged at once, so many of them can overtake a request on its way with a new
        // token. Two more tokens meanwhile, and it would be refused for the second time.
        let guard = Guard::new(12, usize::MAX);
        let hub = guard.hub();
        let builder = client::Client::builder().token(guard.token()).backoff(SOON, SOON);
        let stream = builder.build().unwrap().stream(hub.url("a"));
        for until in [200, 360, 360] {
            let options = stream.writer().create(true).repeating("p").max_batch_bytes(1);
            let writer = wait(options.open()).unwrap();
            for n in 0..until {
                wait(writer.append(&n)).unwrap();
            }
            wait(writer.flush()).unwrap();
        }
        assert!(guard.refused() > 5, "{}", guard.refused());
        let all: Vec<_> = (0..360).collect();
        assert_eq!(guard.content(&hub.url("a")), all);
    }

    fn a_writer_whose_tokens_stay_refused_ends_with_the_servers_error() {
        let guard = Guard::new(usize::MAX, usize::MAX);
        let hub = guard.hub();
        let stream = client::stream(hub.url("a")).token(guard.token());
        let writer = wait(stream.writer().create(true).open()).unwrap();
        wait(writer.append(&1)).unwrap();
        wait(writer.flush()).unwrap();
        guard.close();
        wait(writer.append(&2)).unwrap();
        let error = wait(writer.flush()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(error.message_number(), Some(2));
        assert_eq!(guard.content(&hub.url("a")), [1]);
    }

    fn a_reader_gets_every_message_once_although_its_tokens_expire() {
        for lives in [1, 7] {
            let guard = Guard::new(4, lives);
            let hub = guard.hub();
            guard.fill(&hub.url("a"), 60);
            let builder = client::Client::builder().token(guard.token()).backoff(SOON, SOON);
            let stream = builder.build().unwrap().stream(hub.url("a"));
            for live in [true, false] {
                let mut reader = wait(stream.reader().live(live).open::<u32>()).unwrap();
                let mut seen = Vec::new();
                while let Some(message) = wait(reader.next()) {
                    seen.push(message.unwrap().value);
                }
                let all: Vec<_> = (0..60).collect();
                assert_eq!(seen, all);
            }
            // The first request looks up the tail.
            let reader = stream.reader().from(ReadFrom::Now).live(false);
            assert!(wait(wait(reader.open::<u32>()).unwrap().next()).is_none());
            assert!(guard.expired() > 10, "{}", guard.expired());
        }
    }
}
