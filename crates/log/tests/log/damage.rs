//! Files truncated and corrupted: opening or reading reports it, and no read returns wrong data.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use headwater_log::{
    Append, Clock, Create, DiskLog, Error, Limits, Log, Offset, Outcome, Position, ReadFrom,
    Remedy, Settings,
};

use crate::settings::{random, setting};
use crate::support::{name, open, options, plain, quick_folder, run};

/// Returns everything that can be read from a log as text, or the first error.
async fn contents(log: &DiskLog) -> Result<Vec<String>, Error> {
    let mut contents = Vec::new();
    let mut after = None;
    loop {
        let page = log.list("", after, 100).await?;
        for info in page.streams {
            let mut from = ReadFrom::Start;
            loop {
                let chunk = log.read(&info.name, from, usize::MAX).await?;
                contents.push(format!("{info:?} {chunk:?}"));
                from = ReadFrom::At(chunk.next);
                if chunk.at_tail {
                    break;
                }
            }
        }
        match page.after {
            Some(name) => after = Some(name),
            None => break,
        }
    }
    let order = log.read_order(Position::START, usize::MAX, None).await?;
    contents.push(format!("{order:?}"));
    Ok(contents)
}

/// Fills a log with every kind of data, part of it in tables, the rest in the journal.
fn fill(folder: &Path) -> Vec<String> {
    let mut settings = options(&Clock::by_hand(crate::support::START), Limits::default());
    settings.segment_bytes = 32 << 10;
    let log = DiskLog::open(folder, settings).unwrap();
    run(async {
        for index in 0..6 {
            log.create(&name(&format!("s{index}")), plain())
                .await
                .unwrap();
        }
        for step in 0..300_u64 {
            let stream = name(&format!("s{}", step % 6));
            let text = format!("{step} {}", "m".repeat((step as usize * 37) % 700));
            let mut append = Append::new(vec![text.into()]).by("p", 0, step / 6);
            append.close = step == 299;
            let outcome = log.append(&stream, append).await.unwrap();
            assert!(matches!(outcome, Outcome::Appended(_)));
        }
        log.create(&name("empty"), Create::new(Settings::of_type("x")))
            .await
            .unwrap();
        log.delete(&name("s1")).await.unwrap();
        contents(&log).await.unwrap()
    })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
}

/// Returns the length of a file without the zeros at its end: a journal is longer than its content.
fn meaningful(bytes: &[u8]) -> usize {
    let zeros = [0; 4096];
    let pages = bytes.rchunks(zeros.len());
    let empty = pages
        .take_while(|page| **page == zeros[..page.len()])
        .count();
    let end = bytes.len().saturating_sub(empty * zeros.len());
    let last = bytes[..end].iter().rposition(|byte| *byte != 0);
    last.map_or(1, |last| last + 1).min(bytes.len())
}

/// The files of a folder at one moment.
struct Snapshot(Vec<(PathBuf, Vec<u8>, usize)>);

impl Snapshot {
    fn of(folder: &Path) -> Self {
        let mut all = Vec::new();
        files(folder, &mut all);
        let content = |path: PathBuf| {
            let mut bytes = std::fs::read(&path).unwrap();
            let length = bytes.len();
            bytes.truncate(meaningful(&bytes));
            (path.strip_prefix(folder).unwrap().to_owned(), bytes, length)
        };
        Self(all.into_iter().map(content).collect())
    }

    fn restore(&self, folder: &Path) {
        for (path, bytes, length) in &self.0 {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            cut(&path, *length);
        }
    }
}

enum Found {
    Right,
    Said(String),
}

/// Opens a damaged log and compares its contents with the right ones.
fn judge(folder: &Path, right: &[String]) -> Found {
    match open(folder) {
        Err(error) => {
            assert!(
                error.is_damaged() || error.to_string().contains("format"),
                "{error:?}"
            );
            Found::Said(error.to_string())
        }
        Ok(log) => match run(contents(&log)) {
            Ok(found) => {
                assert_eq!(found, right, "silently wrong");
                Found::Right
            }
            Err(error) => {
                assert!(error.is_damaged(), "{error:?}");
                Found::Said(error.to_string())
            }
        },
    }
}

#[test]
fn damage_anywhere_in_a_log_is_reported_or_harmless() {
    let rounds: usize = setting("HEADWATER_LOG_DAMAGES").unwrap_or(200);
    let mut random = random();
    let original = quick_folder();
    let right = fill(original.path());
    let original = Snapshot::of(original.path());
    let mut said = 0;
    for _ in 0..rounds {
        let folder = quick_folder();
        original.restore(folder.path());
        let (file, bytes, _) = &original.0[random.usize(..original.0.len())];
        let file = folder.path().join(file);
        let at = random.usize(..bytes.len());
        let what = if random.bool() {
            let flipped = bytes[at] ^ (1 << random.u8(0..8));
            let file = std::fs::File::options().write(true).open(&file).unwrap();
            file.write_all_at(&[flipped], at as u64).unwrap();
            "flipped"
        } else {
            cut(&file, at);
            "cut"
        };
        let found = judge(folder.path(), &right);
        match &found {
            Found::Right => println!("{what} {} at {at}: right", file.display()),
            Found::Said(error) => println!("{what} {} at {at}: {error}", file.display()),
        }
        said += usize::from(matches!(found, Found::Said(_)));
    }
    assert!(said > rounds / 4, "damage is noticed: {said} of {rounds}");
}

/// Returns the segment in use and its length.
fn journal(folder: &Path) -> (PathBuf, usize) {
    let mut all = Vec::new();
    files(folder, &mut all);
    let journal = all
        .into_iter()
        .filter(|path| path.extension().is_some_and(|it| it == "seg"));
    let used = journal.filter_map(|path| {
        // Another one is prepared, and contains zeros.
        let length = meaningful(&std::fs::read(&path).unwrap());
        (length > 1).then_some((path, length))
    });
    used.max().unwrap()
}

/// Sets the length of a file.
fn cut(file: &Path, at: usize) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_len(at as u64).unwrap();
}

#[test]
fn a_torn_unacknowledged_commit_is_discarded() {
    let (before, after) = (quick_folder(), quick_folder());
    let stream = name("s");
    let log = open(before.path()).unwrap();
    run(log.create(&stream, plain())).unwrap();
    run(log.append(&stream, Append::new(vec!["acknowledged".into()]))).unwrap();
    // As if the process was killed.
    let (segment, long) = journal(before.path());
    copy(before.path(), after.path());
    run(log.append(&stream, Append::new(vec!["torn".into()]))).unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let end = meaningful(&bytes);
    assert!(end > long);
    drop(log);
    for at in [long + 1, (long + end) / 2, end - 1] {
        let torn = quick_folder();
        copy(after.path(), torn.path());
        let file = segment.strip_prefix(before.path()).unwrap();
        std::fs::write(torn.path().join(file), &bytes[..at]).unwrap();
        let log = open(torn.path()).unwrap();
        assert_eq!(run(crate::support::all(&log, &stream)), ["acknowledged"]);
        assert_eq!(
            run(crate::support::append(&log, &stream, &["next"]))
                .next
                .number(),
            2
        );
        drop(log);
        let log = open(torn.path()).unwrap();
        assert_eq!(
            run(crate::support::all(&log, &stream)),
            ["acknowledged", "next"]
        );
    }
}

/// Returns options with a sync for every append.
fn synced(accept: bool) -> headwater_log::DiskOptions {
    let mut settings = options(&Clock::system(), Limits::default());
    settings.durability = headwater_log::Durability::Fsync;
    settings.accept_missing_end = accept;
    settings
}

#[test]
fn a_missing_acknowledged_commit_is_an_error_unless_accepted() {
    let folder = quick_folder();
    let stream = name("s");
    let log = DiskLog::open(folder.path(), synced(false)).unwrap();
    run(log.create(&stream, plain())).unwrap();
    let mut ends = Vec::new();
    for text in ["one", "two", "three"] {
        run(crate::support::append(&log, &stream, &[text]));
        ends.push(journal(folder.path()).1);
    }
    let before = run(log.info(&stream)).unwrap();
    let lost_position = log.usage().head;
    let killed = quick_folder();
    copy(folder.path(), killed.path());
    drop(log);
    let folder = killed;
    cut(&journal(folder.path()).0, ends[1] - 3);
    for _ in 0..2 {
        let error = DiskLog::open(folder.path(), synced(false)).unwrap_err();
        assert!(error.is_damaged(), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the log is damaged: commits 3 to 4 were acknowledged and are missing from the end"
        );
        assert_eq!(error.remedy(), Some(Remedy::AcceptMissingEnd));
    }
    let log = DiskLog::open(folder.path(), synced(true)).unwrap();
    assert_eq!(log.recovery().missing, 2);
    assert_eq!(run(crate::support::all(&log, &stream)), ["one"]);
    let other = name("created afterwards");
    run(log.create(&other, plain())).unwrap();
    run(log.create(&name("fork"), crate::support::fork_of(&stream))).unwrap();
    run(crate::support::append(&log, &stream, &["2", "3", "4"]));
    let check = |log: &DiskLog| {
        let lineage = run(log.info(&stream)).unwrap().lineage;
        let found = |at| lineage.find(before.at(Offset::new(at)));
        // The offsets of lost messages aren't those of new ones.
        let offsets = [0, 1, 2, 3, 4].map(|at| found(at).map(Offset::number));
        assert_eq!(offsets, [Some(0), Some(1), None, None, None]);
        let lost = [0, 1, 2, 3].map(|at| lineage.has_lost(before.at(Offset::new(at))));
        assert_eq!(lost, [false, false, true, true]);
        let tail = lineage.at(Offset::new(4));
        assert_eq!(lineage.find(tail), Some(tail.at));
        let of_fork = run(log.info(&name("fork"))).unwrap();
        assert_eq!(
            of_fork.lineage.find(before.at(Offset::new(1))),
            Some(Offset::new(1))
        );
        assert_eq!(of_fork.lineage.find(tail), None);
        // The fork has lost nothing.
        assert!(!of_fork.lineage.has_lost(before.at(Offset::new(2))));
        assert!(!lineage.has_lost(tail) && !lineage.has_lost(of_fork.at(Offset::new(9))));
        assert!(run(log.info(&other)).unwrap().id > before.id + 1000);
        // A reader of the order at a lost position gets all that is new.
        let chunk = run(log.read_order(lost_position, usize::MAX, None)).unwrap();
        let new: Vec<_> = chunk
            .entries
            .iter()
            .map(|it| it.message.offset.number())
            .collect();
        assert_eq!(new, [1, 2, 3]);
    };
    check(&log);
    // As after a kill, and after a close.
    let killed = quick_folder();
    copy(folder.path(), killed.path());
    check(&DiskLog::open(killed.path(), synced(false)).unwrap());
    drop(log);
    let log = DiskLog::open(folder.path(), synced(false)).unwrap();
    assert_eq!(log.recovery().missing, 0);
    check(&log);
}

#[test]
fn a_second_loss_parts_a_stream_again() {
    let folder = quick_folder();
    let (stream, closed) = (name("s"), name("closed"));
    let mut known: Vec<headwater_log::Mark> = Vec::new();
    for round in 0..3 {
        let log = DiskLog::open(folder.path(), synced(true)).unwrap();
        if round == 0 {
            run(log.create(&stream, plain())).unwrap();
            let mut create = plain();
            create.closed = true;
            run(log.create(&closed, create)).unwrap();
        }
        assert_eq!(log.recovery().missing, u64::from(round > 0));
        let info = run(log.info(&stream)).unwrap();
        assert_eq!(info.tail.number(), round);
        for (index, mark) in known.iter().enumerate() {
            // Every second one is of a lost message.
            let expected = (index % 2 == 0).then_some(mark.at);
            assert_eq!(info.lineage.find(*mark), expected, "round {round}, {index}");
            assert_eq!(info.lineage.has_lost(*mark), expected.is_none());
        }
        let of_closed = run(log.info(&closed)).unwrap().lineage;
        assert_eq!(
            of_closed.own(),
            log.identity().stream(run(log.info(&closed)).unwrap().id)
        );
        run(crate::support::append(&log, &stream, &["kept"]));
        let end = journal(folder.path());
        known.push(info.lineage.at(Offset::new(round + 1)));
        run(crate::support::append(&log, &stream, &["lost"]));
        known.push(info.lineage.at(Offset::new(round + 2)));
        let killed = quick_folder();
        copy(folder.path(), killed.path());
        drop(log);
        std::fs::remove_dir_all(folder.path().join("log")).unwrap();
        copy(killed.path(), folder.path());
        cut(&end.0, end.1);
    }
}

#[test]
fn after_an_end_is_missing_that_the_index_knows_of_the_rest_can_be_read() {
    let folder = quick_folder();
    let stream = name("s");
    let log = DiskLog::open(folder.path(), synced(false)).unwrap();
    run(log.create(&stream, plain())).unwrap();
    run(crate::support::append(&log, &stream, &["one"]));
    let end = journal(folder.path()).1;
    run(crate::support::append(&log, &stream, &["two"]));
    // This writes out the index.
    drop(log);
    cut(&journal(folder.path()).0, end);
    let error = DiskLog::open(folder.path(), synced(false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log is damaged: commits 3 to 3 were acknowledged and are missing from the end"
    );
    for round in 0..2 {
        let log = DiskLog::open(folder.path(), synced(round == 0)).unwrap();
        assert_eq!(log.recovery().missing, 1 - round);
        run(crate::support::append(&log, &stream, &["next"]));
        let chunk = run(log.read(&stream, ReadFrom::Start, 1)).unwrap();
        assert_eq!(chunk.messages().next().unwrap().bytes, "one");
        let at = |offset| ReadFrom::At(Offset::new(offset));
        let lost = run(log.read(&stream, at(1), 1)).unwrap_err();
        assert!(lost.is_damaged(), "{lost:?}");
        let chunk = run(log.read(&stream, at(2), 1)).unwrap();
        assert_eq!(chunk.messages().next().unwrap().bytes, "next");
    }
}

#[test]
fn a_missing_end_is_reported_with_the_weaker_durability() {
    let folder = quick_folder();
    let log = open(folder.path()).unwrap();
    run(log.create(&name("s"), plain())).unwrap();
    let end = journal(folder.path()).1;
    run(crate::support::append(&log, &name("s"), &["lost"]));
    let killed = quick_folder();
    copy(folder.path(), killed.path());
    drop(log);
    let folder = killed;
    cut(&journal(folder.path()).0, end + 2);
    let log = open(folder.path()).unwrap();
    assert_eq!(log.recovery().missing, 1);
    assert!(run(crate::support::all(&log, &name("s"))).is_empty());
}

#[test]
fn a_damaged_message_does_not_keep_the_others_from_being_sorted() {
    let folder = quick_folder();
    let log = DiskLog::open(folder.path(), synced(false)).unwrap();
    let streams = ["whole", "damaged", "removed"].map(name);
    for (stream, text) in streams.iter().zip(["one", "a message", "two"]) {
        run(log.create(stream, plain())).unwrap();
        run(crate::support::append(&log, stream, &[text]));
    }
    drop(log);
    let (segment, _) = journal(folder.path());
    let content = std::fs::read(&segment).unwrap();
    let text = b"a message";
    let at = content.windows(text.len()).position(|it| it == text);
    let file = std::fs::File::options().write(true).open(&segment).unwrap();
    file.write_all_at(b"?", at.unwrap() as u64).unwrap();
    let error = DiskLog::open(folder.path(), synced(false)).unwrap_err();
    assert_eq!(error.remedy(), Some(Remedy::AcceptDamage), "{error:?}");

    let mut settings = synced(false);
    settings.accept_damage = true;
    let log = DiskLog::open(folder.path(), settings).unwrap();
    assert_eq!(log.recovery().damaged, 1);
    let given_up = log.recovery().given_up.iter();
    let given_up: Vec<_> = given_up
        .map(|it| (it.stream.clone(), it.from.at.number(), it.to.at.number()))
        .collect();
    assert_eq!(given_up, [(streams[1].clone(), 0, 1)]);
    let info = run(log.info(&streams[1])).unwrap();
    assert_eq!(log.recovery().given_up[0].to, info.at(info.tail));
    run(log.delete(&streams[2])).unwrap();
    log.give_back().unwrap();
    drop(log);
    // No segment is read any more, so nothing has to be accepted.
    let log = DiskLog::open(folder.path(), synced(false)).unwrap();
    assert_eq!(run(crate::support::all(&log, &streams[0])), ["one"]);
    let read = run(log.read(&streams[1], ReadFrom::Start, 99));
    assert!(read.unwrap_err().is_damaged());
}

#[test]
fn a_half_created_folder_is_created_again() {
    let folder = quick_folder();
    let file = |name: &str| folder.path().join("log").join(name);
    std::fs::create_dir(file("")).unwrap();
    std::fs::write(file("manifest.new"), [0; 100]).unwrap();
    drop(open(folder.path()).unwrap());
    // As a crash leaves it before there is a manifest.
    let mut all = Vec::new();
    files(&file(""), &mut all);
    for path in all.iter().filter(|path| !path.ends_with("commits")) {
        std::fs::remove_file(path).unwrap();
    }
    let log = open(folder.path()).unwrap();
    run(log.create(&name("s"), plain())).unwrap();
    drop(log);
    // Once something was committed, a missing file is damage.
    for name in ["manifest", "commits"] {
        let hidden = folder.path().join("hidden");
        std::fs::rename(file(name), &hidden).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(error.is_damaged(), "{error:?}");
        assert!(
            error.to_string().contains(&format!("log/{name}")),
            "{error}"
        );
        std::fs::rename(&hidden, file(name)).unwrap();
    }
    drop(open(folder.path()).unwrap());
}
