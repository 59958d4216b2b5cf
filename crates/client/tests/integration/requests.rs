use headwater_client::Format;

use crate::{server::Server, twins::good};

fn redirect(status: &'static str, to: String) -> Server {
    Server::start(move |call| call.respond_with(status, &format!("location: {to}")))
}

twins! {
    fn a_request_for_items_says_what_it_reads() {
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

    fn a_redirect_is_followed_without_credentials_to_another_host() {
        let target = Server::answering("application/x-ndjson", "1\n");
        let server = redirect("302 Found", target.url("/there"));
        let request = client::get(server.url("/")).bearer("secret").header("x-other", "y");
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1]);
        assert_eq!(server.requests()[0].header("authorization").unwrap(), "Bearer secret");
        let seen = &target.requests()[0];
        assert_eq!(seen.line, "GET /there HTTP/1.1");
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("referer"), None);
        assert_eq!(seen.header("x-other").unwrap(), "y");
    }

    fn a_307_keeps_method_and_body_and_a_303_does_not() {
        let target = Server::answering("application/x-ndjson", "1\n");
        for (status, line, body) in [
            ("307 Temporary Redirect", "POST / HTTP/1.1", "ask"),
            ("303 See Other", "GET / HTTP/1.1", ""),
        ] {
            let server = redirect(status, target.url("/"));
            let request = client::post(server.url("/")).body("ask");
            assert_eq!(good(all(wait(request.stream::<u32>()))), [1]);
            let seen = target.requests().pop().unwrap();
            assert_eq!((&*seen.line, &*seen.body), (line, body));
        }
    }

    fn a_redirect_without_end_is_an_error() {
        let server = redirect("302 Found", "/".to_owned());
        let error = wait(client::get(server.url("/")).stream::<u32>()).unwrap_err();
        assert!(error.is_redirect(), "{error}");
        assert_eq!(server.requests().len(), 11);
    }

    fn what_is_wrong_with_a_request_is_an_error_before_it_is_sent() {
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
