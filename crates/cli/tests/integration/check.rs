//! `headwater check`, and a hub whose data is damaged.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::{FileExt as _, MetadataExt as _, chown},
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

/// Returns the files of the log whose names end like this, in order.
fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(folder).join("log")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    files.sort();
    files
}

fn write_at(file: &Path, at: u64) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.write_all_at(b"damage", at).unwrap();
}

fn stop(mut hub: Hub) {
    signal(&hub.process, "-TERM");
    wait(&mut hub.process);
}

#[test]
fn damage_is_reported_by_file_and_stream_and_the_hub_serves_the_rest() {
    let data = Scratch::new("damaged");
    let start = || Hub::serve(&["--data", data.path()]);
    let hub = start();
    let at = hub.address().to_owned();
    let large = "m".repeat(4 << 20);
    for stream in ["a", "b"] {
        assert!(ask(&at, &format!("PUT /streams/{stream}"), "").contains(" 201 "));
        for _ in 0..6 {
            assert!(ask(&at, &format!("POST /streams/{stream}"), &large).contains(" 204 "));
        }
    }
    // Full segments are sorted. The log doesn't read them at the start.
    let mut hub = Some(hub);
    for seconds in 1..8 {
        let started = Instant::now();
        let running = hub.take().unwrap_or_else(start);
        while files(data.path(), ".dat").is_empty() {
            assert!(started.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(50));
        }
        // A file that isn't finished when the hub stops is removed.
        thread::sleep(Duration::from_secs(seconds));
        stop(running);
        if !files(data.path(), ".dat").is_empty() {
            break;
        }
    }
    let said = check(data.path());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("\"streams\":2"), "{said:?}");

    // Near the start, where the first stream's messages are stored.
    let sorted = files(data.path(), ".dat").remove(0);
    write_at(&sorted, 1 << 20);
    let said = check(data.path());
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains(sorted.to_str().unwrap()), "{said:?}");
    assert!(said.stdout.contains("\"stream\":\"a\""), "{said:?}");
    assert!(said.stdout.contains("\"damaged_streams\":1"), "{said:?}");
    let (_, from) = said.stdout.split_once("\"damaged_from\":\"").unwrap();
    let (from, _) = from.split_once('"').unwrap();

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
fn damage_in_the_newest_messages_is_accepted_only_if_that_is_set() {
    let data = Scratch::new("damaged-newest");
    let config = Scratch::new("damaged-newest.toml");
    fs::write(config.path(), "accept_damage = true\n").unwrap();
    let hub = Hub::serve(&["--data", data.path()]);
    let at = hub.address().to_owned();
    for stream in ["a", "b"] {
        assert!(ask(&at, &format!("PUT /streams/{stream}"), "").contains(" 201 "));
        assert!(ask(&at, &format!("POST /streams/{stream}"), "a message").contains(" 204 "));
    }
    stop(hub);
    let newest = files(data.path(), ".seg").into_iter().find_map(|path| {
        let content = fs::read(&path).unwrap();
        let text = b"a message";
        let found = content.windows(text.len()).position(|it| it == text);
        found.map(|at| (path, at as u64))
    });
    let (segment, byte) = newest.unwrap();
    write_at(&segment, byte);

    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data.path()];
    let said = finish(headwater(&serve).spawn().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    for wanted in [
        "segment",
        "is damaged at byte",
        "headwater check",
        "accept_damage",
    ] {
        assert!(said.stderr.contains(wanted), "{said:?}");
    }
    let said = check(data.path());
    let given_up = said
        .stdout
        .lines()
        .find(|line| line.contains("\"segment\""));
    let given_up = given_up.unwrap_or_else(|| panic!("{said:?}"));
    assert!(
        given_up.contains("\"from\":\"0000000000000000_"),
        "{given_up}"
    );
    assert!(
        given_up.contains("\"to\":\"0000000000000001_"),
        "{given_up}"
    );
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("\"damaged_streams\":1"), "{said:?}");

    let hub = Hub::serve(&["--data", data.path(), "--config", config.path()]);
    let at = hub.address().to_owned();
    assert!(ask(&at, "GET /streams/a?live=false", "").contains(" 500 "));
    assert!(ask(&at, "GET /streams/b?live=false", "").contains(" 200 "));
    stop(hub);
}

#[test]
fn a_lost_index_is_rebuilt_and_nothing_is_lost() {
    let data = Scratch::new("lost-index");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data.path()];
    let rebuild = ["check", "--rebuild-index", "--data", data.path()];
    for (damaged, rebuilt) in [(".idx", "index"), (".cat", "catalog"), (".idx", "index")] {
        let hub = Hub::serve(&["--data", data.path()]);
        let at = hub.address().to_owned();
        let stored = ask(&at, "GET /streams/a?live=false", "");
        ask(&at, "PUT /streams/a", "");
        assert!(ask(&at, "POST /streams/a", "one").contains(" 204 "));
        stop(hub);
        let folder = Path::new(data.path()).join("log");
        fs::remove_file(folder.join("manifest")).unwrap();
        let lost = files(data.path(), damaged);
        assert!(!lost.is_empty());
        for file in &lost {
            fs::remove_file(file).unwrap();
        }
        let said = finish(headwater(&serve).spawn().unwrap());
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.stderr.contains("headwater check --rebuild-index"),
            "{said:?}"
        );

        let said = finish(headwater(&rebuild).spawn().unwrap());
        assert_eq!(said.code, 0, "{said:?}");
        let line = format!("{{\"rebuilt\":\"{rebuilt}\"");
        assert!(said.stdout.starts_with(&line), "{said:?}");
        assert!(said.stdout.contains("\"damaged_files\":0"), "{said:?}");
        let hub = Hub::serve(&["--data", data.path()]);
        let now = ask(hub.address(), "GET /streams/a?live=false", "");
        let count = |answer: &str| answer.matches("one").count();
        assert_eq!(count(&now), count(&stored) + 1, "{now}");
        stop(hub);
    }
    // Both are lost.
    for file in [files(data.path(), ".idx"), files(data.path(), ".cat")].concat() {
        fs::remove_file(file).unwrap();
    }
    let said = finish(headwater(&rebuild).spawn().unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    for lost in [".idx` is missing", ".cat` is missing"] {
        assert!(said.stderr.contains(lost), "{said:?}");
    }
}

#[test]
fn a_folder_without_a_log_is_reported() {
    let folder = Scratch::new("no-log");
    let said = check(folder.path());
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("no data of a hub"), "{said:?}");
}

#[test]
fn data_of_another_format_is_one_error_and_no_damage() {
    let data = Scratch::new("older");
    fs::create_dir_all(Path::new(data.path()).join("db")).unwrap();
    let said = check(data.path());
    assert_eq!((said.code, &*said.stdout), (1, ""), "{said:?}");
    assert!(said.stderr.contains("is of format 3"), "{said:?}");
    assert!(
        said.stderr.contains("the version that wrote it"),
        "{said:?}"
    );
    assert!(!said.stderr.contains("damaged"), "{said:?}");
}

/// Returns a folder that a hub has used.
fn used(name: &str) -> Scratch {
    let data = Scratch::new(name);
    let hub = Hub::serve(&["--data", data.path()]);
    let at = hub.address().to_owned();
    assert!(ask(&at, "PUT /streams/a", "").contains(" 201 "));
    assert!(ask(&at, "POST /streams/a", "a message").contains(" 204 "));
    stop(hub);
    data
}

#[test]
fn a_lost_end_names_the_setting_that_accepts_it() {
    let data = used("lost-end");
    for segment in files(data.path(), ".seg") {
        fs::remove_file(segment).unwrap();
    }
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data.path()];
    for said in [
        check(data.path()),
        finish(headwater(&serve).spawn().unwrap()),
    ] {
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains("missing from the end"), "{said:?}");
        assert!(
            said.stderr.contains("accept_missing_end = true"),
            "{said:?}"
        );
        assert!(!said.stderr.contains("accept_damage"), "{said:?}");
    }
    let said = check(data.path());
    assert!(
        said.stdout.contains("\"remedy\":\"accept_missing_end\""),
        "{said:?}"
    );
}

#[test]
fn files_that_a_check_by_root_makes_belong_to_the_hub() {
    let data = used("owned");
    let folders = [
        PathBuf::from(data.path()),
        Path::new(data.path()).join("log"),
    ];
    let all = || {
        let entries = folders
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap());
        entries.map(|entry| entry.unwrap().path())
    };
    if fs::metadata(data.path()).unwrap().uid() != 0 {
        // Only root can give files away.
        return;
    }
    for path in all().chain(folders.clone()) {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    // It makes the others again.
    for file in files(data.path(), ".idx") {
        fs::remove_file(file).unwrap();
    }
    fs::remove_file(Path::new(data.path()).join("lock")).unwrap();
    let rebuild = ["check", "--rebuild-index", "--data", data.path()];
    let said = finish(headwater(&rebuild).spawn().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!files(data.path(), ".idx").is_empty());
    for path in all() {
        let file = fs::metadata(&path).unwrap();
        assert_eq!(
            (file.uid(), file.gid()),
            (65534, 65534),
            "{}",
            path.display()
        );
    }
    // A file that belonged to somebody else before still does.
    let strange = Path::new(data.path()).join("notes");
    fs::write(&strange, "").unwrap();
    assert_eq!(check(data.path()).code, 0);
    assert_eq!(fs::metadata(&strange).unwrap().uid(), 0);
}
