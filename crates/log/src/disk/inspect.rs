//! Checks the files of a folder one by one, to name the damaged ones. It changes nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::checksum::Checksum;
use lsm_tree::{Cache, Table};

use super::engine::Engine;
use super::format::commits_file::Marker;

/// A file of a log that is damaged or can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// A description of the damage or error.
    pub why: String,
}

/// Returns the files of the log in `folder` that are damaged or can't be read. Unless `thorough`,
/// it reads only the ends of tables, and nothing of other files. Journals are read but not decoded:
/// opening the log checks their content.
///
/// # Errors
///
/// If the folder or one inside it can't be read.
pub(crate) fn bad_files(folder: &Path, thorough: bool) -> io::Result<Vec<BadFile>> {
    let mut bad = Vec::new();
    let marker = Engine::marker(folder);
    let database = Engine::database(folder);
    let is_made = database.join("version").try_exists()?;
    let mut found = |path: &Path, why: String| {
        bad.push(BadFile {
            path: path.to_owned(),
            why,
        });
    };
    match Marker::open(&marker) {
        Ok((_, Some(_))) => {}
        Ok((_, None)) => found(&marker, "neither of its checksums is right".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_made => {}
        Err(error) => found(&marker, error.to_string()),
    }
    let mut folders = vec![database];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let is_table = folder.ends_with("tables");
            let why = match is_table {
                true => table(&path, thorough),
                false => read(&path, thorough),
            };
            if let Some(why) = why {
                found(&path, why);
            }
        }
    }
    Ok(bad)
}

/// Returns the bytes of the files in a folder.
pub(crate) fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => bytes(&entry.path()),
        file => file.map_or(0, |file| file.len()),
    };
    entries.flatten().map(bytes).sum()
}

/// Returns the error of a file, if any. If `thorough`, the file is read to its end.
fn read(path: &Path, thorough: bool) -> Option<String> {
    let mut buffer = vec![0; 1 << 20];
    let mut whole = || -> io::Result<()> {
        let mut file = File::open(path)?;
        while thorough && file.read(&mut buffer)? > 0 {}
        Ok(())
    };
    whole().err().map(|error| error.to_string())
}

/// Returns the error of a table, if any. If `thorough`, every block is checked.
fn table(path: &Path, thorough: bool) -> Option<String> {
    let whole = || -> lsm_tree::Result<()> {
        let cache = Arc::new(Cache::with_capacity_bytes(1 << 20));
        let checksum = Checksum::from_raw(0);
        let table = Table::recover(path.to_owned(), checksum, 0, 0, cache, None, false, false)?;
        if thorough {
            for item in table.scan()? {
                item?;
            }
        }
        Ok(())
    };
    match catch_unwind(AssertUnwindSafe(whole)) {
        Ok(Ok(())) => None,
        Ok(Err(lsm_tree::Error::ChecksumMismatch { .. })) => {
            Some("a block's checksum is wrong".to_owned())
        }
        Ok(Err(lsm_tree::Error::Io(error))) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Some("it is cut off".to_owned())
        }
        Ok(Err(lsm_tree::Error::Io(error))) => Some(error.to_string()),
        Ok(Err(error)) => Some(format!("it is no table: {error:?}")),
        Err(_) => Some("it is no table".to_owned()),
    }
}
