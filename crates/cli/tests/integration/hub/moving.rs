//! `export` and `import`.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, done, run};
use crate::{
    running::{Scratch, finish, headwater},
    server::Server,
    serving::Hub,
};

#[test]
fn an_import_that_fails_says_where_and_if_it_can_continue() {
    let (from, to) = (Hub::start(), Hub::start());
    for stream in ["a", "b"] {
        done(&from, &["publish", stream, "1"]);
    }
    let exported = done(&from, &["export"]);
    let file = Scratch::new("import.ndjson");
    let import = |content: &[u8]| {
        fs::write(file.path(), content).unwrap();
        let said = run(&to, &["import", file.path()]);
        assert_ne!(said.code, 0);
        said.stderr
    };
    for (content, why) in [
        (&b""[..], "the body is empty"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"\xff", "isn't UTF-8"),
        (b"garbage", "isn't JSON at column 1"),
    ] {
        let told = import(content);
        assert!(told.contains(why), "{told}");
        assert_eq!(told.contains("(in line 1)"), !content.is_empty(), "{told}");
        assert!(!told.contains("continue"), "{told}");
    }
    let within: Vec<_> = exported.lines().take(3).collect();
    let told = import(within.join("\n").as_bytes());
    assert!(told.contains("(in line 3, the stream \"a\")"), "{told}");
    assert!(told.contains("run the command again to continue"), "{told}");
    let cut = exported.replace("\"end\":\"b\"", "\"end\":\"c\"");
    let told = import(cut.as_bytes());
    assert!(told.contains("the stream \"b\")"), "{told}");
    assert!(told.contains("run the command again to continue"), "{told}");

    let missing = run(&to, &["import", "/nowhere/export.ndjson"]);
    let folder = run(&to, &["import", "/"]);
    let unreachable = ["import", file.path(), "--hub", "http://127.0.0.1:1"];
    let unreachable = finish(headwater(&unreachable).spawn().unwrap());
    for said in [missing, folder, unreachable] {
        assert_eq!(said.code, 1);
        assert!(!said.stderr.contains("continue"), "{}", said.stderr);
    }
}

#[test]
fn an_export_that_is_cut_off_names_its_last_stream_as_one_word_of_a_shell() {
    let lines = concat!(
        r#"{"headwater":"export","version":1,"time":1}"#,
        "\n",
        r#"{"dropped":"b\u001b]0;x\u0007","why":"\u202egone"}"#,
        "\n",
        r#"{"end":"a $(x)'\u001b[31m","messages":0}"#,
        "\n",
    );
    let server = Server::answering("application/x-ndjson", lines);
    let said = finish(
        headwater(&["export", "--hub", &server.url("")])
            .spawn()
            .unwrap(),
    );
    assert_eq!(said.code, 1, "{said:?}");
    let word = r"--after='a $(x)'\''\u{1b}[31m' continues";
    assert!(said.stderr.contains(word), "{}", said.stderr);
    assert!(
        said.stderr
            .contains(r"b\u{1b}]0;x\u{7} isn't exported: \u{202e}gone"),
        "{said:?}"
    );
    assert!(!said.stderr.contains('\u{1b}'), "{said:?}");
}

#[test]
fn two_exports_dont_write_one_file() {
    let (file, part) = (Scratch::new("all.ndjson"), Scratch::new("all.ndjson.part"));
    let silent = Server::start(|call| {
        call.start("application/x-ndjson");
        call.chunk("{\"headwater\":\"export\",\"version\":1,\"time\":1}\n");
        call.wait_for_close();
    });
    let export = |url: &str| {
        let args = ["export", "-o", file.path(), "--hub", url];
        headwater(&args).spawn().unwrap()
    };
    let mut first = export(&silent.url(""));
    let start = Instant::now();
    while fs::metadata(part.path()).map_or(0, |part| part.len()) == 0 {
        assert!(start.elapsed() < PATIENCE, "it writes nothing");
        thread::sleep(Duration::from_millis(10));
    }
    let hub = Hub::start();
    done(&hub, &["publish", "s", "1"]);
    let said = finish(export(hub.url()));
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stderr.contains("another command writes to it"),
        "{said:?}"
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let said = finish(export(hub.url()));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(file.content().ends_with("\"dropped\":0}\n"));
    assert!(fs::metadata(part.path()).is_err());
}
