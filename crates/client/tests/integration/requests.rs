use headwater_client::Format;

use crate::{server::Server, twins::good};

fn redirect(status: &'static str, to: String) -> Server {
    Server::start(move |call| call.respond_with(status, &format!("location: {to}")))
}

twins! {
    fn a_request_names_the_formats_that_it_reads() {
        let server = Server::answering("application/x-ndjson", "1\n");
        let get = || client::get(server.url("/a?x=1"));
        wait(get().query("q", "a b&c").query("n", 7).stream::<u32>()).unwrap();
        wait(get().accept("application/jsonl").header("x-y", "z").bearer("t").stream::<u32>()).unwrap();
        wait(get().format(Format::Ndjson).events()).unwrap();
        wait(get().lines()).unwrap();
        let seen = server.requests();
        assert_eq!(seen[0].line, "GET /a?x=1&q=a+b%26c&n=7 HTTP/1.1");
        let accept = seen[0].header("accept").unwrap();
        assert!(accept.starts_with("text/event-stream, application/x-ndjson;q=0.9"), "{accept}");
        assert!(seen[0].header("user-agent").unwrap().starts_with("headwater/"));
        assert_eq!(seen[0].header("accept-encoding"), None);
        assert_eq!(seen[0].header("last-event-id"), None);
        assert_eq!(seen[1].header("accept").unwrap(), "application/jsonl");
        assert_eq!(seen[1].header("x-y").unwrap(), "z");
        assert_eq!(seen[1].header("authorization").unwrap(), "Bearer t");
        assert!(seen[2].header("accept").unwrap().starts_with("application/x-ndjson"));
        assert_eq!(seen[3].header("accept").unwrap(), "*/*");
    }

    fn a_client_sends_its_headers_with_every_request() {
        let server = Server::answering("application/x-ndjson", "1\n");
        let client = client::Client::builder().header("x-a", "1").bearer("t").build().unwrap();
        wait(client.get(server.url("/")).stream::<u32>()).unwrap();
        wait(client.post(server.url("/")).header("x-a", "2").stream::<u32>()).unwrap();
        let seen = server.requests();
        assert_eq!(seen[0].header("x-a").unwrap(), "1");
        assert_eq!(seen[1].header("x-a").unwrap(), "2");
        assert_eq!(seen[1].header("authorization").unwrap(), "Bearer t");
    }

    fn a_post_carries_its_body() {
        let server = Server::answering("application/x-ndjson", "1\n");
        wait(client::post(server.url("/")).json(&[1, 2]).stream::<u32>()).unwrap();
        wait(client::post(server.url("/")).body("plain").text()).unwrap();
        let seen = server.requests();
        assert_eq!((&*seen[0].line, &*seen[0].body), ("POST / HTTP/1.1", "[1,2]"));
        assert_eq!(seen[0].header("content-type").unwrap(), "application/json");
        assert_eq!(seen[1].body, "plain");
    }

    fn a_redirect_to_another_origin_drops_secrets() {
        let target = Server::answering("application/x-ndjson", "1\n");
        for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let server = redirect(status, target.url("/there"));
            // Also with the client's own headers.
            let client = client::Client::builder().header("x-api-key", "secret").build().unwrap();
            let request = client
                .get(server.url("/").replace("http://", "http://me:pw@"))
                .header("x-other", "secret")
                .header("cookie", "a=secret")
                .header("accept-language", "en")
                .last_event_id("7");
            assert_eq!(good(all(wait(request.stream::<u32>()))), [1]);
            let first = &server.requests()[0];
            assert!(first.header("authorization").unwrap().eq("Basic bWU6cHc="));
            assert_eq!(first.header("x-api-key").unwrap(), "secret");
            let seen = target.requests().pop().unwrap();
            assert_eq!(seen.line, "GET /there HTTP/1.1");
            for gone in ["authorization", "cookie", "x-other", "x-api-key", "referer"] {
                assert_eq!(seen.header(gone), None, "{status}: {gone}");
            }
            assert_eq!(seen.header("accept-language").unwrap(), "en");
            assert_eq!(seen.header("last-event-id").unwrap(), "7");
            assert!(seen.header("user-agent").unwrap().starts_with("headwater/"));
            assert!(seen.header("accept").is_some());
        }
    }

    fn a_redirect_within_an_origin_keeps_all_headers() {
        let server = Server::start(|call| match call.request.line.contains("/there ") {
            true => call.respond_with("200 OK", "content-type: application/x-ndjson"),
            false => call.respond_with("302 Found", "location: /there"),
        });
        let request = client::get(server.url("/").replace("http://", "http://me:pw@")).header("x-api-key", "secret");
        let _ = wait(request.stream::<u32>());
        let seen = server.requests().pop().unwrap();
        assert_eq!(seen.line, "GET /there HTTP/1.1");
        assert_eq!(seen.header("x-api-key").unwrap(), "secret");
        assert!(seen.header("authorization").unwrap().eq("Basic bWU6cHc="));
    }

    fn dropped_headers_stay_dropped_on_a_redirect_back() {
        let back = Server::answering("application/x-ndjson", "1\n");
        let other = redirect("307 Temporary Redirect", back.url("/"));
        let first = redirect("307 Temporary Redirect", other.url("/"));
        let request = client::get(first.url("/")).header("x-api-key", "secret");
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1]);
        assert_eq!(back.requests()[0].header("x-api-key"), None);
    }

    fn a_307_keeps_method_and_body_and_a_303_does_not() {
        let target = Server::answering("application/x-ndjson", "1\n");
        for (status, line, body, kind) in [
            ("307 Temporary Redirect", "POST / HTTP/1.1", "ask", Some("text/plain")),
            ("308 Permanent Redirect", "POST / HTTP/1.1", "ask", Some("text/plain")),
            ("303 See Other", "GET / HTTP/1.1", "", None),
        ] {
            let server = redirect(status, target.url("/"));
            let request = client::post(server.url("/")).header("content-type", "text/plain").body("ask");
            assert_eq!(good(all(wait(request.stream::<u32>()))), [1]);
            let seen = target.requests().pop().unwrap();
            assert_eq!((&*seen.line, &*seen.body), (line, body));
            assert_eq!(seen.header("content-type").as_deref(), kind, "{status}");
        }
    }

    fn a_post_that_a_redirect_would_turn_into_a_get_is_an_error() {
        let target = Server::answering("application/x-ndjson", "1\n");
        for status in ["301 Moved Permanently", "302 Found"] {
            let server = redirect(status, target.url("/there?key=secret"));
            let request = client::post(server.url("/")).body("ask");
            let error = wait(request.stream::<u32>()).unwrap_err();
            assert!(error.is_redirect(), "{error}");
            let text = error.to_string();
            assert!(text.contains(&status[..3]) && text.contains("/there"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
        for status in ["301 Moved Permanently", "302 Found", "303 See Other"] {
            let server = redirect(status, target.url("/there"));
            let error = wait(client::Client::builder().build().unwrap().stream(server.url("/s")).delete()).unwrap_err();
            assert!(error.is_redirect(), "{error}");
        }
        assert!(target.requests().is_empty());
    }

    fn an_endless_redirect_is_an_error() {
        let server = redirect("302 Found", "/".to_owned());
        let error = wait(client::get(server.url("/")).stream::<u32>()).unwrap_err();
        assert!(error.is_redirect(), "{error}");
        assert_eq!(server.requests().len(), 11);
    }

    fn an_invalid_request_is_an_error_before_it_is_sent() {
        let server = Server::answering("application/x-ndjson", "1\n");
        let bad = [
            client::get("localhost:8000/ticks"),
            client::get("not a url"),
            client::get(server.url("/")).header("x y", "1"),
            client::get(server.url("/")).header("x", "1\r\ny: 2"),
            client::get(server.url("/")).last_event_id("a\nb"),
        ];
        for request in bad {
            let error = wait(request.stream::<u32>()).unwrap_err();
            assert!(error.is_request(), "{error}");
        }
        assert!(server.requests().is_empty());
    }
}
