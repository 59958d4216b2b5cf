//! Checks the files of a folder one by one, to name the damaged ones. It changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_journal::{BlockCache, Disk, OsDisk, Table, TableError, table_number};

use super::catalog::{self, CatalogDisk};
use super::format::commits_file::{self, Marker};
use super::format::manifest::{self, Manifest};
use super::recovery::{DATA, accessible};
use super::sorted::{self, Sorted};
use crate::error::{Error, Kind};

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
/// it reads only the ends of tables and sorted files. Segments aren't read: opening the log checks
/// them.
///
/// # Errors
///
/// If the folder can't be read, or the log is of another format.
pub(crate) fn bad_files(folder: &Path, thorough: bool) -> Result<Vec<BadFile>, Error> {
    let data = folder.join(DATA);
    let failed = |error| Error::file(folder, error);
    let mut names = match fs::read_dir(&data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries
            .map_err(failed)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?,
    };
    names.sort_unstable();
    accessible(&data)?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(&data).map_err(failed)?);
    let manifest = match Manifest::read_either(&*disk) {
        Err(error) if matches!(error.kind(), Kind::Version { .. }) => return Err(error),
        manifest => manifest.ok().flatten(),
    };
    let identity = manifest.map(|manifest| manifest.identity);
    let mut bad = Vec::new();
    for name in names {
        let of_log = |error: Error| error.to_string();
        let why = if let Some(number) = table_number(&name) {
            table(&disk, number, thorough).map(|error| error.to_string())
        } else if let Some(number) = catalog::number_of(&name) {
            let error = table(&CatalogDisk::of(&disk), number, thorough);
            error.map(|error| of_log(catalog::failed(error)))
        } else if let (Some(number), Some(identity)) = (sorted::number_of(&name), identity) {
            sorted_file(&disk, number, identity, thorough)
        } else {
            match name.as_str() {
                manifest::NAME => Manifest::read(&*disk).err().map(of_log),
                manifest::COPY => Manifest::read_copy(&*disk).err().map(of_log),
                commits_file::NAME => marker(&*disk),
                _ => disk.open(&name).err().map(|error| error.to_string()),
            }
        };
        // A file can be removed concurrently.
        let why = why.filter(|_| data.join(&name).exists());
        bad.extend(why.map(|why| BadFile {
            path: data.join(name),
            why,
        }));
    }
    Ok(bad)
}

fn marker(disk: &dyn Disk) -> Option<String> {
    match Marker::open(disk) {
        Ok((_, Some(_))) => None,
        Ok((_, None)) => Some("neither of its checksums is right".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Returns the error of a table, if any. If `thorough`, every block is checked.
fn table(disk: &Arc<dyn Disk>, number: u64, thorough: bool) -> Option<TableError> {
    let table = match Table::open(disk, number) {
        Ok(table) => table,
        Err(error) => return Some(error),
    };
    let cache = BlockCache::new(1 << 20);
    let mut pairs = table.iter_from(&[], &cache);
    thorough.then(|| pairs.find_map(Result::err)).flatten()
}

/// Returns the error of a sorted file, if any. If `thorough`, everything but the lists of blocks'
/// records is checked.
fn sorted_file(disk: &Arc<dyn Disk>, number: u64, identity: u64, thorough: bool) -> Option<String> {
    let whole = || -> Result<(), sorted::SortedError> {
        let file = Sorted::open(disk, number, identity)?;
        if thorough {
            file.entries()?;
            for group in file.order_from(0)? {
                group?.records(|_| true)?;
            }
        }
        Ok(())
    };
    whole().err().map(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::super::format::bytes::{put_number, seal};
    use super::*;

    #[test]
    fn a_log_of_another_format_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join(DATA);
        fs::create_dir(&data).unwrap();
        let mut content = Vec::new();
        put_number(&mut content, 999);
        let content = seal(manifest::NAME.as_bytes(), content);
        fs::write(data.join(manifest::NAME), content).unwrap();
        for thorough in [false, true] {
            let error = bad_files(folder.path(), thorough).unwrap_err();
            assert!(error.to_string().contains("of format 999"), "{error}");
        }
    }
}
