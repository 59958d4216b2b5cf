use crate::{
    running::{Scratch, run, run_with_input},
    server::Server,
};

#[test]
fn method_and_headers_are_sent_as_given() {
    let server = Server::answering("application/x-ndjson", "1\n");
    run(
        &server.url("/a"),
        &[
            "-X",
            "QUERY",
            "-H",
            "X-A: 1",
            "-H",
            "X-A:2",
            "-H",
            "Accept: x/y",
        ],
    );
    let request = &server.requests()[0];
    assert_eq!(request.line, "QUERY /a HTTP/1.1");
    assert_eq!(request.header("x-a").unwrap(), "1, 2");
    assert_eq!(request.header("accept").unwrap(), "x/y");
}

#[test]
fn data_makes_it_a_post_from_the_command_line_a_file_or_the_standard_input() {
    let server = Server::answering("application/x-ndjson", "1\n");
    let file = Scratch::new("data");
    std::fs::write(file.path(), "from a file").unwrap();
    let url = server.url("/");
    assert_eq!(run(&url, &["--data", "{\"a\": [1]}"]).code, 0);
    assert_eq!(run(&url, &["-d", &format!("@{}", file.path())]).code, 0);
    assert_eq!(run_with_input(&url, &["-d", "-"], "from stdin").code, 0);
    assert_eq!(
        run(
            &url,
            &["-d", "7", "-X", "PUT", "-H", "content-type: text/plain"]
        )
        .code,
        0
    );
    let seen = server.requests();
    let content_type = |n: usize| seen[n].header("content-type").unwrap();
    assert_eq!(
        (&*seen[0].line, &*seen[0].body),
        ("POST / HTTP/1.1", "{\"a\": [1]}")
    );
    assert_eq!(content_type(0), "application/json");
    assert_eq!(
        (&*seen[1].body, &*content_type(1)),
        ("from a file", "application/octet-stream")
    );
    assert_eq!(seen[2].body, "from stdin");
    assert_eq!(
        (&*seen[3].line, &*content_type(3)),
        ("PUT / HTTP/1.1", "text/plain")
    );

    let said = run(&url, &["-d", "@/nonexistent/data"]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr
            .starts_with("headwater: --data @/nonexistent/data: "),
        "{}",
        said.stderr
    );
}

#[test]
fn a_url_without_a_scheme_means_http() {
    let server = Server::answering("application/x-ndjson", "1\n");
    let bare = server.url("/x?a=http://b");
    let bare = bare.strip_prefix("http://").unwrap();
    let port = bare[..bare.find('/').unwrap()].rsplit(':').next().unwrap();
    for url in [bare.to_owned(), format!("localhost:{port}/x?a=http://b")] {
        let said = run(&url, &[]);
        assert_eq!((said.code, &*said.stdout), (0, "1\n"), "{url}: {said:?}");
    }
    for request in server.requests() {
        assert_eq!(request.line, "GET /x?a=http://b HTTP/1.1");
    }
    let said = run("[::1]:1/x", &[]);
    assert!(
        said.stderr.contains("GET http://[::1]:1/x: no response"),
        "{said:?}"
    );
    for url in [
        "nonsense",
        "/x",
        "",
        "localhost:port/x",
        "user:secret@127.0.0.1/x",
    ] {
        let said = run(url, &[]);
        assert_eq!(said.code, 1, "{url}: {said:?}");
        assert!(
            said.stderr.contains("http"),
            "it says what would be right: {said:?}"
        );
        assert!(!said.stderr.contains("secret"), "{said:?}");
    }
}
