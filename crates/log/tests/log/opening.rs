//! Errors of opening a log: they contain the file, the reason and a remedy.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use headwater_log::{Append, Clock, DiskLog, Limits, Log as _, ReadFrom, Remedy};

use crate::full::SmallDisk;
use crate::support::{append, name, open, options, plain, quick_folder, run, texts};

fn refusal(folder: &Path) -> String {
    open(folder).unwrap_err().to_string()
}

#[test]
fn a_file_in_place_of_the_folder_is_named() {
    let outside = quick_folder();
    let file = outside.path().join("data");
    fs::write(&file, "text").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refusal(&path);
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(error.contains("not a folder"), "{error}");
    }
}

#[test]
fn the_process_that_has_the_log_open_is_named() {
    let folder = quick_folder();
    let log = open(folder.path()).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(error.is_locked());
    let error = error.to_string();
    assert!(
        error.contains(&format!("the process {}", std::process::id())),
        "{error}"
    );
    drop(log);
    open(folder.path()).unwrap();
}

#[test]
fn a_log_without_its_lock_file_is_locked() {
    let folder = quick_folder();
    let log = open(folder.path()).unwrap();
    fs::remove_file(folder.path().join("lock")).unwrap();
    assert!(open(folder.path()).unwrap_err().is_locked());
    drop(log);
    open(folder.path()).unwrap();
}

#[test]
fn a_log_whose_folder_was_renamed_leaves_another_one_in_its_place_alone() {
    let outside = quick_folder();
    let paths = ["data", "renamed"].map(|name| outside.path().join(name));
    let [path, renamed] = &paths;
    let create = |log: &DiskLog| run(log.create(&name("a"), plain())).map(drop);
    let fill = |log: &DiskLog, text: &str| run(append(log, &name("a"), &[text; 100]));
    let first = open(path).unwrap();
    create(&first).unwrap();
    fill(&first, "first");
    fs::rename(path, renamed).unwrap();
    let second = open(path).unwrap();
    create(&second).unwrap();
    for _ in 0..20 {
        // Long enough for further segments.
        fill(&first, &"1".repeat(5_000));
        fill(&second, &"2".repeat(5_000));
    }
    drop((first, second));
    for (path, start, count) in [(renamed, "1", 2_100), (path, "2", 2_000)] {
        let log = open(path).unwrap();
        assert_eq!(log.recovery().damaged, 0, "{start}");
        let mut from = ReadFrom::Start;
        let mut found = 0;
        loop {
            let chunk = run(log.read(&name("a"), from, 1 << 20)).unwrap();
            let all = texts(&chunk);
            found += all.len();
            assert!(
                all.iter()
                    .all(|text| text.starts_with(start) || text == "first")
            );
            if chunk.at_tail {
                break;
            }
            from = ReadFrom::At(chunk.next);
        }
        assert_eq!(found, count);
    }
}

#[test]
fn a_read_only_file_system_is_reported_as_such() {
    let Some(disk) = SmallDisk::new(200 << 20) else {
        // Not every environment allows a mount.
        return;
    };
    drop(open(disk.path()).unwrap());
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,ro"]).arg(disk.path());
    assert!(remount.status().unwrap().success());
    let checked = DiskLog::bad_files(disk.path()).unwrap_err();
    assert!(!checked.is_damaged(), "{checked:?}");
    for error in [refusal(disk.path()), checked.to_string()] {
        assert!(error.contains("read-only"), "{error}");
        assert!(
            error.contains(&disk.path().display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn damage_is_reported_with_its_file() {
    let folder = quick_folder();
    let mut settings = options(&Clock::system(), Limits::default());
    settings.segment_bytes = 64 << 10;
    let log = DiskLog::open(folder.path(), settings).unwrap();
    let stream = name("s");
    run(async {
        log.create(&stream, plain()).await.unwrap();
        log.create(&name("removed"), plain()).await.unwrap();
        append(&log, &name("removed"), &["text"]).await;
        for _ in 0..50 {
            log.append(&stream, Append::new(vec![vec![b'm'; 10_000].into()]))
                .await
                .unwrap();
        }
        append(&log, &stream, &["last"]).await;
    });
    let sorted = || {
        let files = fs::read_dir(folder.path().join("log")).unwrap();
        let mut files = files.map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|it| it == "dat"))
    };
    run(log.delete(&name("removed"))).unwrap();
    // This sorts the segments.
    log.give_back().unwrap();
    drop(log);
    assert!(DiskLog::bad_files(folder.path()).unwrap().is_empty());
    let table = sorted().unwrap();
    // In the middle, which contains messages.
    let file = fs::File::options().write(true).open(&table).unwrap();
    file.write_all_at(b"damage", table.metadata().unwrap().len() / 2)
        .unwrap();
    let bad = DiskLog::bad_files(folder.path()).unwrap();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0].path, table);
    // A truncated file fails the opening.
    file.set_len(table.metadata().unwrap().len() / 2).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(error.is_damaged(), "{error:?}");
    assert!(
        error.to_string().contains(&table.display().to_string()),
        "{error}"
    );
}

/// Returns the files of a log whose names end like this, in order.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("log")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    files.sort();
    files
}

#[test]
fn the_remedy_follows_from_the_damage() {
    let folder = quick_folder();
    let mut settings = options(&Clock::system(), Limits::default());
    settings.segment_bytes = 64 << 10;
    let log = DiskLog::open(folder.path(), settings.clone()).unwrap();
    let (stream, removed) = (name("s"), name("removed"));
    run(async {
        for stream in [&stream, &removed] {
            log.create(stream, plain()).await.unwrap();
            append(&log, stream, &["text"]).await;
        }
        log.delete(&removed).await.unwrap();
    });
    // This sorts the segments.
    log.give_back().unwrap();
    for _ in 0..30 {
        let append = Append::new(vec![vec![b'm'; 10_000].into()]);
        run(log.append(&stream, append)).unwrap();
    }
    drop(log);
    let (sorted, segments) = (files(folder.path(), ".dat"), files(folder.path(), ".seg"));
    let middle = segments[segments.len() / 2].clone();
    let tables = files(folder.path(), ".idx");
    let catalog = files(folder.path(), ".cat");
    for (file, remedy) in [
        (&sorted[0], None),
        (&middle, None),
        (&tables[0], Some(Remedy::RebuildIndex)),
        (&catalog[0], Some(Remedy::RebuildIndex)),
        (
            &folder.path().join("log/manifest"),
            Some(Remedy::RebuildIndex),
        ),
        (
            &folder.path().join("log/commits"),
            Some(Remedy::AcceptMissingEnd),
        ),
    ] {
        let hidden = folder.path().join("hidden");
        fs::rename(file, &hidden).unwrap();
        let error = DiskLog::open(folder.path(), settings.clone()).unwrap_err();
        assert!(error.is_damaged(), "{error:?}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            error
                .to_string()
                .contains(&format!("log/{name}` is missing")),
            "{error}"
        );
        assert_eq!(error.remedy(), remedy, "{error}");
        if file == &sorted[0] {
            // A whole catalog isn't replaced.
            let error = DiskLog::rebuild_index(folder.path()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(files(folder.path(), ".cat"), catalog);
            assert_eq!(files(folder.path(), ".idx"), tables);
        }
        fs::rename(&hidden, file).unwrap();
    }
    drop(DiskLog::open(folder.path(), settings).unwrap());
}

#[test]
fn a_stray_folder_is_no_damage() {
    let folder = quick_folder();
    drop(open(folder.path()).unwrap());
    let stray = folder.path().join("log").join(format!("{:020}.dat", 100));
    fs::create_dir(&stray).unwrap();
    for error in [
        open(folder.path()).unwrap_err(),
        DiskLog::bad_files(folder.path()).unwrap_err(),
    ] {
        assert!(!error.is_damaged(), "{error:?}");
        let error = error.to_string();
        assert!(error.contains(&stray.display().to_string()), "{error}");
        assert!(
            error.contains("a folder and not a file; move it away"),
            "{error}"
        );
    }
}
