//! `export` and `import`.

use super::{done, run};
use crate::{
    running::{Scratch, finish, headwater},
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
        std::fs::write(file.path(), content).unwrap();
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
