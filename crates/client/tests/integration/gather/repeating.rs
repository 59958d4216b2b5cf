use std::time::{Instant, SystemTime};

use headwater_client::Method;

use super::*;

/// Fails this many times, and then responds.
fn failing(times: usize, how: impl Fn(&mut Served) + Send + Sync + 'static) -> Server {
    Server::start(move |call| {
        if call.n < times {
            how(call);
        } else {
            call.respond("200 OK", "text/plain", "ok");
        }
    })
}

type Way = Box<dyn Fn(&mut Served) + Send + Sync>;

const QUICK: Duration = Duration::from_millis(10);

twins! {
    fn a_transient_failure_is_retried() {
        let ways: [fn(&mut Served); 7] = [
            |_| {}, // The connection breaks before there's an answer.
            |call| call.respond("429 Too Many Requests", "text/plain", ""),
            |call| call.respond("502 Bad Gateway", "text/plain", ""),
            |call| call.respond("503 Service Unavailable", "text/plain", ""),
            |call| call.respond("504 Gateway Timeout", "text/plain", ""),
            |call| call.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"),
            |call| {
                call.start("text/plain");
                call.chunk("cut");
            },
        ];
        for (n, way) in ways.into_iter().enumerate() {
            let server = failing(2, way);
            let results = gathered(client::gather([server.url("/")]).backoff(QUICK, QUICK).send());
            assert_eq!(results.len(), 1);
            assert!(results[0].outcome.is_ok(), "{n}: {results:?}");
            assert_eq!((results[0].attempts, server.requests().len()), (3, 3), "{n}");
        }
    }

    fn a_call_fails_after_its_retries_with_the_number_of_attempts() {
        let server = failing(9, |call| call.respond("503 Service Unavailable", "text/plain", "no"));
        for (retries, attempts) in [(0, 1), (2, 3)] {
            let gather = client::gather([server.url("/")]).retries(retries).backoff(QUICK, QUICK);
            let result = gathered(gather.send()).remove(0);
            assert_eq!(result.attempts, attempts);
            let error = result.outcome.unwrap_err();
            assert_eq!(error.status().unwrap(), 503);
            assert_eq!(error.answer().unwrap().bytes(), "no");
            assert_eq!(error.to_string().contains("after 3 attempts"), attempts == 3, "{error}");
        }
        assert_eq!(server.requests().len(), 4);
    }

    fn a_permanent_failure_is_not_retried() {
        for status in ["400 Bad Request", "404 Not Found", "500 Internal Server Error", "501 No"] {
            let server = Server::start(move |call| call.respond(status, "text/plain", ""));
            let result = gathered(client::gather([server.url("/")]).backoff(QUICK, QUICK).send()).remove(0);
            assert_eq!((result.attempts, server.requests().len()), (1, 1), "{status}");
        }
    }

    fn a_post_is_never_sent_twice_unless_it_is_repeatable() {
        let ways: [fn(&mut Served); 3] = [
            |_| {},
            |call| call.respond_with("503 Service Unavailable", "retry-after: 0"),
            |call| call.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"),
        ];
        for way in ways {
            for (method, repeatable, sent) in [
                (Method::POST, false, 1),
                (Method::PATCH, false, 1),
                (Method::POST, true, 2),
                (Method::PUT, false, 2),
                (Method::DELETE, false, 2),
            ] {
                let server = failing(1, way);
                let call = Call::new(method.clone(), server.url("/")).body("x").repeatable(repeatable);
                let result = gathered(client::gather([call]).backoff(QUICK, QUICK).send()).remove(0);
                assert_eq!(result.outcome.is_ok(), sent == 2, "{method}: {result:?}");
                assert_eq!((result.attempts, server.requests().len()), (sent, sent as usize), "{method}");
                assert!(server.requests().iter().all(|request| request.body == "x"));
            }
        }
    }

    fn a_retry_after_is_waited_for_in_seconds_and_as_a_date() {
        let in_two_seconds = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
        let ways: [Way; 2] = [
            Box::new(|call| call.respond_with("503 Service Unavailable", "retry-after: 1")),
            Box::new(move |call| {
                let header = format!("retry-after: {}", in_two_seconds());
                call.respond_with("429 Too Many Requests", &header);
            }),
        ];
        for way in ways {
            let server = failing(1, way);
            let start = Instant::now();
            let result = gathered(client::gather([server.url("/")]).backoff(QUICK, QUICK).send()).remove(0);
            let took = start.elapsed();
            assert!(result.outcome.is_ok());
            assert!((Duration::from_millis(950)..Duration::from_secs(4)).contains(&took), "{took:?}");
            assert!(result.timing.total > Duration::from_millis(950));
        }
    }

    fn a_retry_after_beyond_the_timeout_is_not_waited_for() {
        let server = failing(9, |call| call.respond_with("503 Service Unavailable", "retry-after: 60"));
        let start = Instant::now();
        let gather = client::gather([server.url("/")]).timeout(Duration::from_secs(5));
        let result = gathered(gather.send()).remove(0);
        assert!(start.elapsed() < Duration::from_secs(2));
        assert_eq!((result.attempts, result.outcome.unwrap_err().status().unwrap().as_u16()), (1, 503));
    }

    fn a_429_delays_all_calls_to_its_host_and_no_others() {
        let server = failing(1, |call| call.respond_with("429 Too Many Requests", "retry-after: 1"));
        let other = Server::answering("text/plain", "ok");
        let calls = [server.url("/0"), server.url("/1"), server.url("/2"), other.url("/")];
        let start = Instant::now();
        let mut results = client::gather(calls).per_host(1).backoff(QUICK, QUICK).send().unwrap();
        assert_eq!(next_result(&mut results).unwrap().index, 3);
        assert!(start.elapsed() < Duration::from_millis(900));
        for n in 0..3 {
            let result = next_result(&mut results).unwrap();
            assert!(result.outcome.is_ok());
            assert_eq!((result.index, result.attempts), (n, if n == 0 { 2 } else { 1 }));
            assert!(start.elapsed() > Duration::from_millis(950));
        }
    }

    fn a_call_that_waits_for_a_retry_holds_no_slot() {
        let server = failing(1, |call| call.respond_with("503 Service Unavailable", "retry-after: 1"));
        let other = Server::answering("text/plain", "ok");
        let calls = [server.url("/"), other.url("/1"), other.url("/2")];
        let results = gathered(client::gather(calls).concurrency(1).send());
        assert_eq!(indexes(&results), [1, 2, 0]);
    }
}
