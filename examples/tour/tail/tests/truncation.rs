//! Files that are truncated and written again.

use super::*;

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
