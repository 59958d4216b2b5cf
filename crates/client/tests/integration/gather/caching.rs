use headwater_client::gather::Cache;

use super::*;

/// Responds with these headers and the number of the request, and confirms `"1"` if it is
/// revalidated.
fn answering(headers: &'static str) -> Server {
    Server::start(move |call| {
        if call
            .request
            .header("if-none-match")
            .is_some_and(|tags| tags.contains("\"1\""))
        {
            return call.respond_with(
                "304 Not Modified",
                &format!("{headers}\r\nx-confirmed: yes"),
            );
        }
        let body = call.n.to_string();
        let length = body.len();
        call.write(format!(
            "HTTP/1.1 200 OK\r\n{headers}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ));
    })
}

fn bodies(results: &[GatherResult]) -> Vec<&str> {
    results
        .iter()
        .map(|result| result.answer().unwrap().text().unwrap())
        .collect()
}

twins! {
    fn a_fresh_answer_is_reused_without_a_call() {
        let server = answering("cache-control: max-age=60");
        let cache = Cache::new(1 << 20);
        let gather = || {
            let calls = [server.url("/"), server.url("/#part"), server.url("/")];
            gathered(client::gather(calls).cache(cache.clone()).concurrency(1).send())
        };
        assert_eq!(bodies(&gather()), ["0", "0", "0"]);
        let again = gather();
        assert_eq!(server.requests().len(), 1);
        let answer = again[0].outcome.as_ref().unwrap();
        assert!(answer.is_cached() && again[0].attempts == 0);
        assert_eq!(answer.headers()["age"], "0");
        cache.clear();
        assert_eq!(bodies(&gather())[0], "1");
    }

    fn a_stale_answer_is_reused_if_the_server_confirms_it() {
        let server = answering("cache-control: no-cache\r\netag: \"1\"");
        let cache = Cache::new(1 << 20);
        let gather = || gathered(client::gather([server.url("/")]).cache(cache.clone()).send()).remove(0);
        assert_eq!(gather().outcome.unwrap().text().unwrap(), "0");
        for n in 1..3 {
            let result = gather();
            let answer = result.outcome.unwrap();
            assert_eq!((answer.text().unwrap(), answer.status().as_u16()), ("0", 200));
            assert!(answer.is_cached() && result.attempts == 1);
            assert_eq!(answer.headers()["x-confirmed"], "yes");
            let seen = server.requests();
            assert_eq!(seen.len(), n + 1);
            assert_eq!(seen[n].header("if-none-match").unwrap(), "\"1\"");
        }
    }

    fn an_unconfirmed_answer_is_replaced() {
        let server = Server::start(|call| {
            let tag = format!("\"{}\"", call.n);
            call.write(format!(
                "HTTP/1.1 200 OK\r\netag: {tag}\r\ncontent-length: 1\r\nconnection: close\r\n\r\n{}", call.n
            ));
        });
        let cache = Cache::new(1 << 20);
        for n in 0..3 {
            let result = gathered(client::gather([server.url("/")]).cache(cache.clone()).send()).remove(0);
            let answer = result.outcome.unwrap();
            assert_eq!((answer.text().unwrap(), answer.is_cached()), (&*n.to_string(), false));
        }
        assert_eq!(server.requests()[2].header("if-none-match").unwrap(), "\"1\"");
    }

    fn an_answer_that_must_not_be_stored_is_requested_again() {
        for headers in [
            "cache-control: no-store, max-age=60",
            "cache-control: max-age=0",
            "vary: *\r\ncache-control: max-age=60",
            "x: nothing is said",
        ] {
            let server = answering(headers);
            let cache = Cache::new(1 << 20);
            for n in 1..3 {
                gathered(client::gather([server.url("/")]).cache(cache.clone()).send());
                assert_eq!(server.requests().len(), n, "{headers}");
            }
            assert_eq!(cache.bytes(), 0, "{headers}");
        }
        let server = answering("cache-control: max-age=60");
        let cache = Cache::new(1 << 20);
        let call = || Call::get(server.url("/")).header("cache-control", "no-store");
        for n in 1..3 {
            gathered(client::gather([call()]).cache(cache.clone()).send());
            assert_eq!((server.requests().len(), cache.bytes()), (n, 0));
        }
    }

    fn a_call_with_different_varying_headers_has_its_own_answer() {
        let server = answering("cache-control: max-age=60\r\nvary: x-a");
        let cache = Cache::new(1 << 20);
        let call = |value| Call::get(server.url("/")).header("x-a", value).header("x-b", value);
        let calls = ["1", "2", "1", "2"].map(call);
        let results = gathered(client::gather(calls).cache(cache).concurrency(1).send());
        assert_eq!(bodies(&results), ["0", "1", "0", "1"]);
    }

    fn an_unsafe_call_invalidates_the_stored_answer() {
        let server = answering("cache-control: max-age=60");
        let cache = Cache::new(1 << 20);
        let calls = [Call::get(server.url("/")), Call::post(server.url("/")), Call::get(server.url("/"))];
        let results = gathered(client::gather(calls).cache(cache).concurrency(1).send());
        assert_eq!(bodies(&results), ["0", "1", "2"]);
    }

    fn a_call_with_its_own_condition_bypasses_the_cache() {
        let server = answering("cache-control: max-age=60\r\netag: \"1\"");
        let cache = Cache::new(1 << 20);
        let calls = [
            Call::get(server.url("/")),
            Call::get(server.url("/")).header("if-none-match", "\"1\""),
        ];
        let results = gathered(client::gather(calls).cache(cache).concurrency(1).send());
        assert_eq!(results[1].outcome.as_ref().unwrap_err().status().unwrap(), 304);
        assert_eq!(server.requests().len(), 2);
    }

    fn a_redirected_answer_is_not_stored() {
        let target = answering("cache-control: max-age=60");
        let to = target.url("/there");
        let server = Server::start(move |call| call.respond_with("302 Found", &format!("location: {to}")));
        let cache = Cache::new(1 << 20);
        let calls = [server.url("/"), server.url("/")];
        let results = gathered(client::gather(calls).cache(cache.clone()).concurrency(1).send());
        assert_eq!(bodies(&results), ["0", "1"]);
        assert_eq!(cache.bytes(), 0);
    }
}
