//! `headwater check`: reports damage in a hub's data.

use std::{
    collections::HashSet,
    error::Error as _,
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, lchown},
    path::{Path, PathBuf},
};

use clap::Args as ClapArgs;
use headwater_log::{DiskLog, DiskOptions, Error, Info, Log, ReadFrom, Remedy};
use headwater_wire::causes;

use crate::{exit::Failure, serve::cannot_open};

/// Number of streams listed at a time.
const PAGE: usize = 1000;
/// Approximate number of bytes read at a time.
const READ_BYTES: usize = 4 << 20;

#[derive(ClapArgs)]
pub(crate) struct Check {
    /// The folder that contains the streams
    #[arg(short, long, value_name = "FOLDER", env = "HEADWATER_DATA")]
    data: PathBuf,

    /// Rebuild the index first, from the other files
    #[arg(long)]
    rebuild_index: bool,
}

/// Shown by `-h`.
pub(crate) const EXAMPLE: &str = "\
Example:
  headwater check --data ./headwater-data";

/// Shown after it by `--help`.
pub(crate) const DETAILS: &str = "\
It prints a line of JSON for each file and each stream that is damaged, with the first offset that
can't be read, and a summary. Damaged messages that aren't sorted by stream yet have lines of
their own, with their ranges of offsets: accept_damage = true gives them up. If the folder can't be
opened, a line has the damage and the remedy: --rebuild-index, a setting of the hub, or a backup.

The hub must not run meanwhile. Opening the folder completes or takes back what was being written
when the hub ended, as the hub does: make a copy first. So it can't check a read-only folder. Files
that it makes belong to the owner of the others.

--rebuild-index replaces the files of the index (*.idx) by new ones, made from the catalog (*.cat)
and the sorted files (*.dat), and the manifest by its copy if it is damaged or missing. If the
catalog is damaged or missing, it makes a new one from the index. Nothing is lost, unless both are
damaged, or a sorted file is missing: then it changes nothing.

A sorted file with damaged messages of a deleted stream is damaged until the hub rewrites it.

Exit status:
  0    everything is whole
  1    something is damaged, or the folder can't be opened
  2    the command line is wrong";

pub(crate) fn run(args: &Check) -> Result<(), Failure> {
    let folder = &args.data;
    if !exists(&folder.join("log"))? && !exists(&folder.join("db"))? {
        let folder = folder.display();
        return Err(Failure::other(format!("{folder}: no data of a hub found")));
    }
    let owned = Owned::by_others(folder);
    let checked = check(args);
    if let Some(owned) = owned {
        owned.give(folder);
    }
    checked
}

fn exists(path: &Path) -> Result<bool, Failure> {
    path.try_exists()
        .map_err(|error| Failure::other(format!("{}: {error}", path.display())))
}

fn check(args: &Check) -> Result<(), Failure> {
    let folder = &args.data;
    if args.rebuild_index {
        let rebuilt = DiskLog::rebuild_index(folder).map_err(|error| {
            let (folder, error) = (folder.display(), causes::text(&error));
            Failure::other(format!("can't rebuild the index in {folder}: {error}"))
        })?;
        say(&serde_json::json!({
            "rebuilt": if rebuilt.is_catalog { "catalog" } else { "index" },
            "pairs": rebuilt.pairs, "sorted_files": rebuilt.sorted_files,
        }))?;
    }
    let files = DiskLog::bad_files(folder).map_err(|error| unopened(folder, &error))?;
    for file in &files {
        let path = file.path.display().to_string();
        say(&serde_json::json!({ "file": path, "damage": file.why }))?;
    }
    let mut options = DiskOptions::default();
    options.accept_damage = true;
    let log = match DiskLog::open(folder, options) {
        Ok(log) => log,
        Err(error) => {
            if error.is_damaged() {
                let remedy = match error.remedy() {
                    Some(Remedy::RebuildIndex) => "--rebuild-index",
                    Some(Remedy::AcceptDamage) => "accept_damage",
                    Some(Remedy::AcceptMissingEnd) => "accept_missing_end",
                    _ => "a backup",
                };
                let (folder, damage) = (folder.display().to_string(), causes::text(&error));
                say(&serde_json::json!({ "folder": folder, "damage": damage, "remedy": remedy }))?;
            }
            return Err(unopened(folder, &error));
        }
    };
    for lost in &log.recovery().given_up {
        say(&serde_json::json!({
            "stream": lost.stream.as_str(), "from": lost.from.to_string(), "to": lost.to.to_string(),
            "segment": lost.segment, "byte": lost.byte, "damage": "its checksum is wrong",
        }))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::other(format!("can't start: {error}")))?;
    let found = runtime.block_on(streams(&log));
    let closed = runtime.block_on(log.close());
    let (streams, messages, damaged) = found?;
    closed.map_err(|error| Failure::other(format!("closing the log: {error}")))?;
    say(&serde_json::json!({
        "streams": streams, "messages": messages, "damaged_streams": damaged, "damaged_files": files.len(),
    }))?;
    match damaged == 0 && files.is_empty() {
        true => Ok(()),
        false => Err(Failure::other(format!(
            "{}: {damaged} streams and {} files are damaged",
            folder.display(),
            files.len()
        ))),
    }
}

/// Describes why a folder can't be checked, and the remedy.
fn unopened(folder: &Path, error: &Error) -> Failure {
    let mut text = cannot_open(folder, error);
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ReadOnlyFilesystem) {
        text.push_str(". A check completes what was being written when the hub ended: run it on a copy that it can write");
    }
    Failure::other(text)
}

/// The owner of a log, and the files that belong to others.
///
/// The hub can't open files that root has made.
struct Owned {
    user: u32,
    group: u32,
    of_others: HashSet<(PathBuf, u32)>,
}

impl Owned {
    /// Returns `None` if the folder of the log can't be examined.
    fn by_others(folder: &Path) -> Option<Self> {
        // The hub has made it.
        let log = fs::metadata(folder.join("log")).ok()?;
        let (user, group) = (log.uid(), log.gid());
        let of_others = of_others(folder, user).collect();
        Some(Self {
            user,
            group,
            of_others,
        })
    }

    /// Gives the owner the files that belong to others since then.
    fn give(&self, folder: &Path) {
        for file in of_others(folder, self.user) {
            if self.of_others.contains(&file) {
                continue;
            }
            let path = file.0.display();
            if let Err(error) = lchown(&file.0, Some(self.user), Some(self.group)) {
                let user = self.user;
                let _unseen = writeln!(
                    io::stderr(),
                    "headwater: {path} can't be given to user {user}, so the hub can't open it: {error}"
                );
            }
        }
    }
}

/// Returns the files in the folder and the one of its log that don't belong to this user, each with its owner.
fn of_others(folder: &Path, user: u32) -> impl Iterator<Item = (PathBuf, u32)> {
    let folders = [folder.to_owned(), folder.join("log")];
    let entries = folders
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let entries = entries.flatten().flatten();
    entries.filter_map(move |entry| {
        let file = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        (file.uid() != user).then(|| (entry.path(), file.uid()))
    })
}

/// Reads all streams. Returns the number of streams, of messages, and of damaged streams.
async fn streams(log: &DiskLog) -> Result<(u64, u64, u64), Failure> {
    let (mut streams, mut messages, mut damaged) = (0, 0, 0);
    let mut after = None;
    loop {
        let page = log.list("", after, PAGE).await;
        let page = page.map_err(|error| Failure::other(format!("the list of streams: {error}")))?;
        for info in page.streams {
            streams += 1;
            let (whole, error) = read(log, &info).await;
            messages += whole;
            if let Some(error) = error {
                damaged += 1;
                let damage = error.to_string();
                let from = info.at(headwater_log::Offset::new(info.floor.number() + whole));
                say(&serde_json::json!({
                    "stream": info.name.as_str(), "damaged_from": from.to_string(), "whole_messages": whole,
                    "messages": info.messages(), "damage": damage,
                }))?;
            }
        }
        match page.after {
            Some(name) => after = Some(name),
            None => return Ok((streams, messages, damaged)),
        }
    }
}

/// Reads a stream. Returns the number of undamaged messages from its start, and the error of the
/// next one.
async fn read(log: &DiskLog, info: &Info) -> (u64, Option<Error>) {
    let mut from = ReadFrom::Start;
    let mut whole = 0;
    let mut budget = READ_BYTES;
    loop {
        match log.read(&info.name, from, budget).await {
            Ok(chunk) if chunk.is_empty() => return (whole, None),
            Ok(chunk) => {
                whole += chunk.count();
                from = ReadFrom::At(chunk.next);
            }
            // Read the messages before the damage one by one.
            Err(_) if budget > 1 => budget = 1,
            Err(error) => return (whole, Some(error)),
        }
    }
}

/// Prints a line.
fn say(line: &serde_json::Value) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}")
        .map_err(|error| Failure::other(format!("the standard output: {error}")))
}
