//! Files that are renamed, and new ones in their places.

use super::*;

#[test]
fn a_rename_and_a_new_file_lose_nothing() {
    let log = Log::with("a\n");
    let mut tail = log.tail(Start::Last(10));
    tail.patience = Duration::ZERO;
    assert_eq!(texts(&mut tail), ["a"]);
    let old = log.rename();
    assert_eq!(texts(&mut tail), [""; 0]);
    // The writer still has the old file open when the new one exists.
    log.append("c\n");
    assert!(tail.read().unwrap().is_none());
    OpenOptions::new()
        .append(true)
        .open(&old)
        .unwrap()
        .write_all(b"b\nno line end")
        .unwrap();
    assert_eq!(texts(&mut tail), ["b", "no line end", "c"]);
    log.append("d\n");
    assert_eq!(texts(&mut tail), ["d"]);
}

#[test]
fn a_rename_waits_for_the_rest_of_an_incomplete_line() {
    let log = Log::with("a\nhalf of ");
    let mut tail = log.tail(Start::Last(10));
    assert_eq!(texts(&mut tail), ["a"]);
    let mut old = OpenOptions::new().append(true).open(log.rename()).unwrap();
    log.append("new\n");
    for _ in 0..5 {
        assert_eq!(texts(&mut tail), [""; 0]);
    }
    old.write_all(b"a li").unwrap();
    assert_eq!(texts(&mut tail), [""; 0]);
    old.write_all(b"ne\nlast\n").unwrap();
    assert_eq!(texts(&mut tail), ["half of a line", "last", "new"]);
}

#[test]
fn an_incomplete_line_is_returned_as_truncated() {
    let log = Log::with("a\nhalf of ");
    let mut tail = log.tail(Start::Last(10));
    assert_eq!(texts(&mut tail), ["a"]);
    log.rename();
    log.append("new\n");
    assert_eq!(texts(&mut tail), [""; 0]);
    tail.patience = Duration::ZERO;
    let last: Vec<_> = lines(&mut tail)
        .into_iter()
        .map(|(_, line)| (line.text, line.truncated))
        .collect();
    assert_eq!(last, [("half of ".into(), true), ("new".into(), false)]);
}

/// Renames by number like logrotate: `app.log.1` to `app.log.2`, then `app.log` to `app.log.1`.
fn rotate(log: &Log) {
    let name = |number| log.directory.join(format!("app.log.{number}"));
    for number in (1..9).rev() {
        let _ = fs::rename(name(number), name(number + 1));
    }
    log.rename();
}

#[test]
fn files_created_during_the_wait_for_a_line_end_are_all_read() {
    let log = Log::with(
        "a
half of ",
    );
    let mut tail = log.tail(Start::Last(10));
    assert_eq!(texts(&mut tail), ["a"]);
    let old = log.rename();
    let mut old = OpenOptions::new().append(true).open(old).unwrap();
    for n in 1..=5 {
        log.append(format!(
            "file {n}
"
        ));
        assert_eq!(texts(&mut tail), [""; 0]);
        // Only a file that is already open survives this.
        fs::remove_file(&log.path).unwrap();
    }
    log.append(
        "new
",
    );
    old.write_all(
        b"a line
",
    )
    .unwrap();
    let all = [
        "half of a line",
        "file 1",
        "file 2",
        "file 3",
        "file 4",
        "file 5",
        "new",
    ];
    assert_eq!(texts(&mut tail), all);
}

#[test]
fn the_number_of_waiting_files_is_bounded() {
    let log = Log::with("half");
    let mut tail = log.tail(Start::Beginning);
    assert_eq!(texts(&mut tail), [""; 0]);
    let mut given = Vec::new();
    for n in 0..2 * MAX_FILES {
        fs::remove_file(&log.path).unwrap();
        log.append(format!(
            "{n}
"
        ));
        given.extend(texts(&mut tail));
        assert!(tail.files.len() <= MAX_FILES + 1, "{n}");
    }
    let numbers = (0..2 * MAX_FILES).map(|n| n.to_string());
    let expected: Vec<_> = std::iter::once("half".to_owned()).chain(numbers).collect();
    assert_eq!(given, expected);
}

#[test]
fn several_rotations_by_number_between_two_polls_lose_nothing() {
    let log = Log::with(
        "a
",
    );
    let mut tail = log.tail(Start::Last(10));
    assert_eq!(texts(&mut tail), ["a"]);
    log.append(
        "b
",
    );
    for line in [
        "c
", "d
", "", "e
",
    ] {
        rotate(&log);
        log.append(line);
    }
    assert_eq!(texts(&mut tail), ["b", "c", "d", "e"]);
    rotate(&log);
    log.append(
        "f
",
    );
    assert_eq!(texts(&mut tail), ["f"]);
}

#[test]
fn files_of_other_names_or_of_earlier_times_are_left_alone() {
    let log = Log::with(
        "a
",
    );
    let mut tail = log.tail(Start::Last(10));
    assert_eq!(texts(&mut tail), ["a"]);
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    for name in ["app.log.1", "app.log.2.gz", "app.log-2", "other.log.2"] {
        let other = log.directory.join(name);
        fs::write(
            &other, "other
",
        )
        .unwrap();
        let time = File::options().write(true).open(other).unwrap();
        time.set_modified(long_ago).unwrap();
    }
    fs::rename(&log.path, log.directory.join("app.log.3")).unwrap();
    fs::create_dir(log.directory.join("app.log.2")).unwrap();
    log.append(
        "b
",
    );
    assert_eq!(texts(&mut tail), ["b"]);
}

#[test]
fn a_reader_resumes_after_rotations_by_number_without_loss() {
    let log = Log::with("a\nb\n");
    let (position, _) = lines(&mut log.tail(Start::Beginning)).remove(0);
    let given: Vec<_> = ["c\n", "d\n"]
        .map(|line| {
            rotate(&log);
            log.append(line);
            lines(&mut log.tail(Start::After(position)))
                .into_iter()
                .map(|(_, line)| (line.line, line.text))
                .collect::<Vec<_>>()
        })
        .into();
    let all = ["b", "c", "d"].map(str::to_owned);
    let all: Vec<_> = (2..).zip(all).collect();
    assert_eq!(given, [&all[..2], &all[..]]);
}

#[test]
fn a_reader_that_resumes_with_other_files_gets_the_whole_new_one() {
    let log = Log::with("a\nb\n");
    let (position, _) = lines(&mut log.tail(Start::Last(1))).remove(0);
    let old = log.directory.join("archived");
    fs::rename(&log.path, &old).unwrap();
    let _old = File::open(old).unwrap();
    log.append("c\nd\n");
    assert_eq!(texts(&mut log.tail(Start::After(position))), ["c", "d"]);

    // The name of a rotated file with other content.
    let rotated = log.rename();
    log.append("e\n");
    let (position, _) = lines(&mut Tail::new(rotated.clone(), Start::Beginning)).remove(0);
    fs::write(&rotated, "x\ny\n").unwrap();
    assert_eq!(texts(&mut log.tail(Start::After(position))), ["e"]);

    let (position, _) = lines(&mut log.tail(Start::Last(1))).remove(0);
    File::options()
        .write(true)
        .open(&log.path)
        .unwrap()
        .set_len(0)
        .unwrap();
    log.append("f\n");
    assert_eq!(texts(&mut log.tail(Start::After(position))), ["f"]);
}
