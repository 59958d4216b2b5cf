//! `headwater check`, and a hub whose data is damaged.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::running::{PATIENCE, Said, Scratch, finish, headwater, signal, wait};
use crate::serving::Hub;

fn check(folder: &str) -> Said {
    finish(headwater(&["check", "--data", folder]).spawn().unwrap())
}

/// Returns the response of the hub at `address`.
fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the largest table file, if any.
fn table(folder: &Path) -> Option<PathBuf> {
    let tables = fs::read_dir(folder.join("db/keyspaces/3/tables")).unwrap();
    let tables = tables.map(|entry| entry.unwrap().path());
    tables.max_by_key(|path| path.metadata().unwrap().len())
}

#[test]
fn damage_is_reported_by_file_and_stream_and_the_hub_serves_the_rest() {
    let data = Scratch::new("damaged");
    let config = Scratch::new("damaged.toml");
    fs::write(config.path(), "accept_damage = true\n").unwrap();
    let start = || Hub::serve(&["--data", data.path(), "--config", config.path()]);
    let stop = |mut hub: Hub| {
        signal(&hub.process, "-TERM");
        wait(&mut hub.process);
    };
    let hub = start();
    let at = hub.address().to_owned();
    // Enough data that a table is written, but no checkpoint: only what is newer is checked at
    // the start.
    let large = "m".repeat(4 << 20);
    for stream in ["a", "b"] {
        assert!(ask(&at, &format!("PUT /streams/{stream}"), "").contains(" 201 "));
        for _ in 0..6 {
            assert!(ask(&at, &format!("POST /streams/{stream}"), &large).contains(" 204 "));
        }
    }
    let started = Instant::now();
    while table(Path::new(data.path())).is_none() {
        assert!(started.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
    stop(hub);
    let said = check(data.path());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("\"streams\":2"), "{said:?}");

    // Near the start, where the first stream's messages are stored.
    let table = table(Path::new(data.path())).unwrap();
    let file = fs::File::options().write(true).open(&table).unwrap();
    file.write_all_at(b"damage", 1 << 20).unwrap();
    let said = check(data.path());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains(table.to_str().unwrap()), "{said:?}");
    assert!(said.stdout.contains("\"stream\":\"a\""), "{said:?}");
    assert!(said.stdout.contains("\"damaged_streams\":1"), "{said:?}");
    let (_, from) = said.stdout.split_once("\"damaged_from\":\"").unwrap();
    let (from, _) = from.split_once('"').unwrap();

    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data.path()];
    let said = finish(headwater(&serve).spawn().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    for wanted in [
        table.to_str().unwrap(),
        "a checksum is wrong",
        "headwater check",
    ] {
        assert!(said.stderr.contains(wanted), "{said:?}");
    }

    let hub = start();
    let at = hub.address().to_owned();
    let refused = ask(&at, &format!("GET /streams/a?live=false&offset={from}"), "");
    assert!(
        refused.contains(" 500 ") && refused.contains("damaged"),
        "{refused:.999}"
    );
    assert!(!refused.contains(data.path()), "{refused:.999}");
    assert!(ask(&at, "GET /streams/b?live=false", "").contains(" 200 "));
    assert!(ask(&at, "GET /readyz", "").contains("\"warnings\":[\"some data is damaged"));
    stop(hub);
}

#[test]
fn a_folder_without_a_log_is_reported() {
    let folder = Scratch::new("no-log");
    let said = check(folder.path());
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("no data of a hub"), "{said:?}");
}
