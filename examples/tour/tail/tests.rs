use std::{
    fs::OpenOptions,
    io::Write as _,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
};

use futures_util::StreamExt as _;

use super::*;

/// A log file in its own directory, which is removed when the test ends.
struct Log {
    directory: PathBuf,
    path: PathBuf,
}

impl Log {
    fn missing() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("headwater-tail-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let path = directory.join("app.log");
        Self { directory, path }
    }

    fn with(content: impl AsRef<[u8]>) -> Self {
        let log = Self::missing();
        log.append(content);
        log
    }

    fn append(&self, content: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .unwrap();
        file.write_all(content.as_ref()).unwrap();
    }

    fn rename(&self) -> PathBuf {
        let old = self.directory.join("app.log.1");
        fs::rename(&self.path, &old).unwrap();
        old
    }

    fn tail(&self, start: Start) -> Tail {
        Tail::new(self.path.clone(), start)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns all lines that are available now. It polls several times, because a reader polls again
/// after each file.
fn lines(tail: &mut Tail) -> Vec<(Position, Line)> {
    let mut all = Vec::new();
    for _ in 0..8 {
        while let Some(lines) = tail.read().unwrap() {
            all.extend(lines);
        }
    }
    all
}

fn texts(tail: &mut Tail) -> Vec<String> {
    lines(tail).into_iter().map(|(_, line)| line.text).collect()
}

#[test]
fn the_last_lines_precede_new_ones() {
    let log = Log::with("a\nb\nc\n");
    let mut tail = log.tail(Start::Last(2));
    assert_eq!(texts(&mut tail), ["b", "c"]);
    assert_eq!(texts(&mut tail), [""; 0]);
    log.append("d\r\n\ne\n");
    let numbered: Vec<_> = lines(&mut tail)
        .into_iter()
        .map(|(_, line)| (line.line, line.text))
        .collect();
    assert_eq!(
        numbered,
        [(3, "d".into()), (4, String::new()), (5, "e".into())]
    );
}

#[test]
fn any_number_of_last_lines_can_be_requested() {
    for (content, count, expected) in [
        ("", 5, &[][..]),
        ("a\nb\n", 0, &[]),
        ("a\nb\n", 1, &["b"]),
        ("a\nb\n", 2, &["a", "b"]),
        ("a\nb\n", 9, &["a", "b"]),
        ("a\n\n\n", 2, &["", ""]),
        ("a\nb\nunfinished", 1, &["b"]),
        ("unfinished", 1, &[]),
    ] {
        let log = Log::with(content);
        assert_eq!(
            texts(&mut log.tail(Start::Last(count))),
            expected,
            "{count} of {content:?}"
        );
    }
}

#[test]
fn the_last_lines_are_found_over_many_reads() {
    let content: String = (1..=40_000).map(|n| format!("line {n}\n")).collect();
    let log = Log::with(&content);
    let given = texts(&mut log.tail(Start::Last(10_000)));
    assert_eq!(given.len(), 10_000);
    assert_eq!(given[0], "line 30001");
    assert_eq!(given[9_999], "line 40000");
}

#[test]
fn a_line_is_returned_only_when_it_is_complete() {
    let log = Log::with("whole\nha");
    let mut tail = log.tail(Start::Last(10));
    assert_eq!(texts(&mut tail), ["whole"]);
    log.append("lf of ");
    assert_eq!(texts(&mut tail), [""; 0]);
    log.append("it\n");
    assert_eq!(texts(&mut tail), ["half of it"]);
}

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

/// Truncates the file and writes `content` at once.
fn rewrite(log: &Log, content: &str) {
    fs::write(&log.path, content).unwrap();
}

#[test]
fn a_file_rewritten_between_two_polls_yields_no_fragment() {
    for (before, after, expected) in [
        // Longer than before, of equal length, and shorter.
        (
            "one\ntwo\n",
            "first line\nsecond line\n",
            &["first line", "second line"][..],
        ),
        ("one\ntwo\n", "x\ny\nz\nw\nv\n", &["x", "y", "z", "w", "v"]),
        ("one\ntwo\n", "ONE\nTWO\n", &["ONE", "TWO"]),
        ("one\ntwo\n", "three\n", &["three"]),
        // With an incomplete line.
        ("one\nha", "another\nline\n", &["another", "line"]),
        ("one\nha", "one\nxx and more\n", &["one", "xx and more"]),
        ("ha", "xalf\n", &["xalf"]),
        ("one\n", "", &[]),
    ] {
        let log = Log::with(before);
        let mut tail = log.tail(Start::Beginning);
        lines(&mut tail);
        rewrite(&log, after);
        assert_eq!(texts(&mut tail), expected, "{before:?}, {after:?}");
    }
}

#[test]
fn a_possible_rest_of_a_truncated_line_is_marked() {
    for (before, length, after, expected) in [
        // A complete line and an incomplete one.
        (
            "one\ntwo\n",
            6,
            " and on\nnext\n",
            &[("one", false), ("tw and on", true), ("next", false)][..],
        ),
        (
            "one\nha",
            5,
            "lf\nnext\n",
            &[("one", true), ("hlf", true), ("next", false)],
        ),
        ("one\nha", 0, "lf\nnext\n", &[("lf", true), ("next", false)]),
        // Between two lines.
        (
            "one\ntwo\n",
            4,
            "next\n",
            &[("one", false), ("next", false)],
        ),
        ("one\ntwo\n", 0, "next\n", &[("next", false)]),
    ] {
        let log = Log::with(before);
        let mut tail = log.tail(Start::Beginning);
        lines(&mut tail);
        let file = File::options().write(true).open(&log.path).unwrap();
        file.set_len(length).unwrap();
        let mut given = lines(&mut tail);
        log.append(after);
        given.extend(lines(&mut tail));
        let given: Vec<_> = given
            .iter()
            .map(|(_, line)| (line.text.as_str(), line.truncated))
            .collect();
        assert_eq!(given, expected, "{before:?}, {length}, {after:?}");
    }
}

#[test]
fn long_lines_of_other_content_are_distinguished() {
    let long = "x".repeat(MAX_LINE_BYTES - 1);
    let log = Log::with(format!("a{long}"));
    let mut tail = log.tail(Start::Beginning);
    assert_eq!(texts(&mut tail), [""; 0]);
    rewrite(&log, &format!("b{long}x\nnext\n"));
    let given = texts(&mut tail);
    assert!(
        given[0].starts_with('b'),
        "it is not half of one and half of the other"
    );
    assert_eq!(given[1..], ["next"]);
}

#[test]
fn a_reader_that_resumes_in_a_rewritten_file_gets_no_fragment() {
    let log = Log::with("one\ntwo\nthree\n");
    let all = lines(&mut log.tail(Start::Beginning));
    rewrite(&log, "a first line that is long\na second one\n");
    for (position, _) in all {
        let given = texts(&mut log.tail(Start::After(position)));
        assert_eq!(given, ["a first line that is long", "a second one"]);
    }
}

#[test]
fn a_file_that_is_copied_and_truncated_is_read_from_its_beginning() {
    let log = Log::with("first\nsecond\nunfini");
    let mut tail = log.tail(Start::Last(1));
    assert_eq!(texts(&mut tail), ["second"]);
    fs::copy(&log.path, log.directory.join("app.log.1")).unwrap();
    File::options()
        .write(true)
        .open(&log.path)
        .unwrap()
        .set_len(0)
        .unwrap();
    log.append("third\n");
    assert_eq!(texts(&mut tail), ["third"]);
    log.append("fourth\n");
    assert_eq!(texts(&mut tail), ["fourth"]);
}

#[test]
fn a_file_that_is_missing_at_first_is_new_from_its_first_line() {
    let log = Log::missing();
    let mut tail = log.tail(Start::Last(1));
    assert_eq!(texts(&mut tail), [""; 0]);
    log.append("a\nb\nc\n");
    assert_eq!(texts(&mut tail), ["a", "b", "c"]);
}

#[test]
fn a_reader_waits_for_a_file_that_is_missing_for_a_while() {
    let log = Log::with("a\n");
    let mut tail = log.tail(Start::Last(10));
    assert_eq!(texts(&mut tail), ["a"]);
    fs::remove_file(&log.path).unwrap();
    assert_eq!(texts(&mut tail), [""; 0]);
    log.append("b\n");
    assert_eq!(texts(&mut tail), ["b"]);

    let old = log.rename();
    assert_eq!(texts(&mut tail), [""; 0]);
    fs::rename(old, &log.path).unwrap();
    log.append("c\n");
    assert_eq!(
        texts(&mut tail),
        ["c"],
        "the same file came back: nothing is given twice"
    );
}

#[test]
fn invalid_utf_8_is_replaced() {
    let log = Log::with(b"caf\xe9 \xf0\x9f\x92\xa7\n");
    assert_eq!(
        texts(&mut log.tail(Start::Last(1))),
        ["caf\u{fffd} \u{1f4a7}"]
    );
}

#[test]
fn a_long_line_is_truncated_between_characters_and_marked() {
    let longest = "x".repeat(MAX_LINE_BYTES);
    let log = Log::with(format!("{longest}\n{}é{longest}\nnext\n", &longest[1..]));
    let given: Vec<_> = lines(&mut log.tail(Start::Last(10)))
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        given[0],
        Line {
            line: 1,
            text: longest.clone(),
            truncated: false
        }
    );
    assert_eq!(
        given[1],
        Line {
            line: 2,
            text: longest[1..].to_owned(),
            truncated: true
        }
    );
    assert_eq!(
        given[2],
        Line {
            line: 3,
            text: "next".to_owned(),
            truncated: false
        }
    );
}

#[test]
fn an_endless_line_uses_bounded_memory() {
    let log = Log::missing();
    let mut tail = log.tail(Start::Last(0));
    for _ in 0..64 {
        log.append("x".repeat(MAX_LINE_BYTES));
        assert_eq!(texts(&mut tail), [""; 0]);
    }
    let open = &tail.files[0];
    assert_eq!(open.offset, 64 * MAX_LINE_BYTES as u64);
    assert!(open.line.bytes.capacity() <= 2 * MAX_LINE_BYTES);
    log.append("\n");
    assert_eq!(texts(&mut tail)[0].len(), MAX_LINE_BYTES);
}

#[test]
fn a_line_that_began_too_far_back_is_omitted() {
    let log = Log::with("x\n");
    File::options()
        .write(true)
        .open(&log.path)
        .unwrap()
        .set_len(MAX_LOOK_BACK_BYTES + 1000)
        .unwrap();
    let mut tail = log.tail(Start::Last(5));
    assert_eq!(texts(&mut tail), [""; 0]);
    log.append("the end of it\nnext\n");
    assert_eq!(texts(&mut tail), ["next"]);
}

#[test]
fn a_reconnecting_reader_resumes_where_it_left_off() {
    let log = Log::with("a\nb\nc\nd\n");
    let all = lines(&mut log.tail(Start::Last(10)));
    for (seen, (position, _)) in all.iter().enumerate() {
        let position: Position = position.to_string().parse().unwrap();
        assert_eq!(
            lines(&mut log.tail(Start::After(position))),
            all[seen + 1..]
        );
    }
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

#[test]
fn an_invalid_position_is_refused() {
    for text in [
        "",
        "1",
        "1-2-3",
        "1-2-3-4",
        "1-2-3-4-5-6",
        "1-2-3-4-x",
        "1-2-3-4--5",
        "99999999999999999999-1-1-1-1",
    ] {
        assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
    }
}

#[test]
fn a_file_that_is_not_regular_is_an_error() {
    let log = Log::missing();
    fs::create_dir(&log.path).unwrap();
    assert!(log.tail(Start::Last(1)).read().is_err());
}

#[tokio::test]
async fn a_new_line_arrives_soon_after_it_was_written() {
    let log = Log::with("old\n");
    let mut lines = pin!(follow(log.path.clone(), Start::Last(1)));
    let next = async {
        assert_eq!(lines.next().await.unwrap().unwrap().1.text, "old");
        log.append("new\n");
        lines.next().await.unwrap().unwrap().1.text
    };
    let text = tokio::time::timeout(Duration::from_secs(10), next)
        .await
        .unwrap();
    assert_eq!(text, "new");
}
