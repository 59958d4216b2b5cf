use std::time::Instant;

use super::*;

/// A server that measures the maximum number of concurrent requests.
fn crowded(stay: Duration) -> (Server, Arc<Crowd>) {
    let crowd = Arc::new(Crowd::default());
    let seen = Arc::clone(&crowd);
    let server = Server::start(move |call| {
        seen.enter();
        thread::sleep(stay);
        // The request counts as gone before the client can know it.
        seen.leave();
        call.respond("200 OK", "text/plain", "ok");
    });
    (server, crowd)
}

const STAY: Duration = Duration::from_millis(20);

fn urls<'a>(servers: &'a [&Server], calls: usize) -> impl Iterator<Item = String> + use<'a> {
    (0..calls).map(|n| servers[n % servers.len()].url(&format!("/{n}")))
}

/// A source that counts the calls that are read from it.
fn counted(url: String, calls: usize) -> (impl Iterator<Item = String> + Send, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let source = (0..calls).map(move |n| {
        counter.fetch_add(1, Ordering::SeqCst);
        format!("{url}{n}")
    });
    (source, taken)
}

twins! {
    fn the_concurrency_limit_holds() {
        let ((a, crowd_a), (b, crowd_b)) = (crowded(STAY), crowded(STAY));
        let calls: Vec<_> = urls(&[&a, &b], 60).collect();
        let results = gathered(client::gather(calls.clone()).concurrency(6).per_host(100).send());
        assert!(results.iter().all(|result| result.outcome.is_ok()));
        assert_eq!(results.len(), 60);
        assert!((2..=6).contains(&crowd_a.most()) && (2..=6).contains(&crowd_b.most()));
        let ((a, crowd_a), (b, crowd_b)) = (crowded(STAY), crowded(STAY));
        let calls: Vec<_> = urls(&[&a, &b], 60).collect();
        gathered(client::gather(calls).concurrency(100).per_host(3).send());
        assert_eq!((crowd_a.most(), crowd_b.most()), (3, 3));
    }

    fn a_host_at_its_limit_does_not_delay_others() {
        let (slow, _) = crowded(Duration::from_millis(300));
        let (quick, _) = crowded(Duration::ZERO);
        let mut calls: Vec<_> = (0..50).map(|n| slow.url(&format!("/{n}"))).collect();
        calls.push(quick.url("/"));
        let mut results = client::gather(calls).per_host(2).send().unwrap();
        assert_eq!(next_result(&mut results).unwrap().index, 50);
        // This is as far as the look-ahead reaches.
        let mut calls: Vec<_> = (0..10).map(|n| slow.url(&format!("/{n}"))).collect();
        calls.push(quick.url("/"));
        let mut results = client::gather(calls).per_host(1).look_ahead(2).send().unwrap();
        assert_eq!(next_result(&mut results).unwrap().index, 0);
    }

    fn a_rate_is_kept_for_each_host() {
        let ((a, _), (b, _)) = (crowded(Duration::ZERO), crowded(Duration::ZERO));
        let calls: Vec<_> = urls(&[&a, &b], 42).collect();
        let start = Instant::now();
        gathered(client::gather(calls).rate_per_host(40.0).send());
        // 20 intervals of 25 ms to each host, in parallel.
        let took = start.elapsed();
        assert!((Duration::from_millis(490)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    }

    fn the_source_is_polled_only_while_there_is_room() {
        let (server, _) = crowded(Duration::ZERO);
        let (source, taken) = counted(server.url("/"), 1_000_000);
        let mut results = client::gather(source).concurrency(8).look_ahead(16).send().unwrap();
        for _ in 0..10 {
            next_result(&mut results).unwrap().outcome.unwrap();
        }
        pause(Duration::from_millis(300));
        // Ten results were consumed, and eight calls are in flight or unconsumed. The blocking twin
        // buffers two more on the way in and two on the way out.
        let ahead = taken.load(Ordering::SeqCst) - 10;
        assert!((1..=8 + 4).contains(&ahead), "{ahead}");
        drop(results);
        // If no call can start, the look-ahead is the bound.
        let (server, _) = crowded(Duration::from_secs(2));
        let (source, taken) = counted(server.url("/"), 1_000_000);
        let results = client::gather(source).concurrency(8).per_host(1).look_ahead(16);
        let mut results = results.timeout(Duration::from_millis(300)).retries(0).send().unwrap();
        next_result(&mut results).unwrap().outcome.unwrap_err();
        let ahead = taken.load(Ordering::SeqCst) - 1;
        assert!((16..=16 + 1 + 4).contains(&ahead), "{ahead}");
    }

    fn with_ordered_results_the_source_is_polled_only_while_there_is_room() {
        let server = Server::start(|call| {
            if number(call) == 0 {
                thread::sleep(Duration::from_millis(600));
            }
            call.respond("200 OK", "text/plain", "ok");
        });
        let (source, taken) = counted(server.url("/"), 1_000_000);
        let mut results = client::gather(source).ordered().concurrency(4).look_ahead(16).send().unwrap();
        assert_eq!(next_result(&mut results).unwrap().index, 0);
        let ahead = taken.load(Ordering::SeqCst) - 1;
        assert!((16..=16 + 4 + 4).contains(&ahead), "{ahead}");
        for n in 1..100 {
            assert_eq!(next_result(&mut results).unwrap().index, n);
        }
    }

    fn a_body_may_be_as_large_as_its_limit_but_not_larger() {
        for chunked in [false, true] {
            let server = Server::start(move |call| {
                let body = "x".repeat(usize::try_from(number(call)).unwrap());
                let status = if call.request.line.contains("bad") { "500 Oh" } else { "200 OK" };
                if chunked {
                    call.write(format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n"));
                    for part in body.as_bytes().chunks(700) {
                        call.chunk(part);
                    }
                    call.end();
                } else {
                    call.respond(status, "text/plain", body);
                }
            });
            let calls = ["/1999", "/2000", "/2001", "/2000?bad", "/3000?bad"].map(|path| server.url(path));
            let results = gathered(client::gather(calls).max_body_bytes(2000).ordered().send());
            let length = |n: usize| results[n].answer().unwrap().bytes().len();
            assert_eq!((length(0), length(1)), (1999, 2000));
            let error = results[2].outcome.as_ref().unwrap_err();
            assert!(error.is_too_large() && error.answer().is_none(), "{error}");
            // The body of an unsuccessful response is kept up to the limit.
            assert_eq!(results[3].outcome.as_ref().unwrap_err().status().unwrap(), 500);
            assert_eq!(results[4].outcome.as_ref().unwrap_err().status().unwrap(), 500);
            assert_eq!((length(3), length(4)), (2000, 2000));
        }
        let server = Server::answering("text/plain", "");
        let results = gathered(client::gather([server.url("/")]).max_body_bytes(0).send());
        assert!(results[0].outcome.is_ok());
    }

    fn an_overdue_call_fails_alone() {
        let server = Server::start(|call| match number(call) {
            0 => drop(call.wait_for_close()),
            // It sends one byte at a time, so that the idle timeout never expires.
            1 => {
                call.start("text/plain");
                while call.chunk_arrives("x") {
                    thread::sleep(Duration::from_millis(20));
                }
            }
            _ => call.respond("200 OK", "text/plain", "ok"),
        });
        let calls = [0, 1, 2].map(|n| server.url(&format!("/{n}")));
        let start = Instant::now();
        let gather = client::gather(calls).timeout(Duration::from_millis(200)).ordered();
        let results = gathered(gather.send());
        assert!(start.elapsed() < Duration::from_secs(1));
        for result in &results[..2] {
            let error = result.outcome.as_ref().unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert_eq!(result.attempts, 1, "its time is up, so it isn't made again");
        }
        let wanted = format!("GET {}: not done within 200ms, including all attempts", server.url("/0"));
        assert_eq!(results[0].outcome.as_ref().unwrap_err().to_string(), wanted);
        assert!(results[2].outcome.is_ok());
    }

    fn after_the_total_timeout_each_unfinished_call_fails_and_one_result_represents_the_rest() {
        let server = Server::start(|call| match number(call) {
            0 => call.respond("200 OK", "text/plain", "ok"),
            _ => drop(call.wait_for_close()),
        });
        for (calls, unread) in [(10, true), (4, false)] {
            let calls: Vec<_> = (0..calls).map(|n| server.url(&format!("/{n}"))).collect();
            let gather = client::gather(calls).concurrency(3).per_host(2).look_ahead(1);
            let start = Instant::now();
            let results = gathered(gather.total_timeout(Duration::from_millis(300)).send());
            assert!(start.elapsed() < Duration::from_secs(2));
            assert!(results[0].outcome.is_ok());
            assert_eq!(indexes(&results)[..4], [0, 1, 2, 3]);
            for result in &results[1..] {
                assert!(result.outcome.as_ref().unwrap_err().is_timeout());
            }
            assert_eq!(results[3].attempts, 0);
            if unread {
                // The blocking twin can't know if there are more calls before it asks, and has
                // asked.
                assert_eq!((results.len(), results[4].index), (5, 4));
                let error = results[4].outcome.as_ref().unwrap_err().to_string();
                assert!(error.contains("from this one on none was read"), "{error}");
            } else {
                assert_eq!(results.len(), 4);
            }
        }
    }
}
