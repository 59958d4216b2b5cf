mod rotation;
mod truncation;

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
