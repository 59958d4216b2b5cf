//! The catalog: the pairs of the index without the locations of records, a second time.
//!
//! Each checkpoint is written into a table of the index and into one of the catalog. The tables of the
//! catalog are read to be merged with each other, and to [rebuild](super::rebuild) the index.

use std::io;
use std::sync::Arc;

use headwater_journal::{Disk, DiskFile, TableError, table_name, table_number};

use super::failure::{io_failure, is_missing, missing};
use crate::error::{Error, Remedy};

/// End of the name of a table of the catalog.
const SUFFIX: &str = ".cat";

/// Returns the name of a table of the catalog.
pub(crate) fn catalog_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// Returns the number of a table of the catalog, or `None` for another file.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (catalog_name(number) == name).then_some(number)
}

/// Returns the error of a table of the catalog.
pub(crate) fn failed(error: TableError) -> Error {
    let error = match error {
        TableError::Disk { number, source } if is_missing(&source) => {
            missing(&catalog_name(number))
        }
        TableError::Disk { source, .. } => io_failure(source),
        TableError::Damaged { number, offset } => Error::damaged(format!(
            "{} is damaged at byte {offset}",
            catalog_name(number)
        )),
    };
    error.with_remedy(Remedy::RebuildIndex)
}

/// A disk on which tables have the names of the catalog's.
pub(crate) struct CatalogDisk(pub(crate) Arc<dyn Disk>);

impl CatalogDisk {
    /// Returns a disk for the tables of the catalog.
    pub(crate) fn of(disk: &Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(Self(Arc::clone(disk)))
    }
}

/// Returns the name of a file on the disk.
fn actual(name: &str) -> String {
    table_number(name).map_or_else(|| name.to_owned(), catalog_name)
}

impl Disk for CatalogDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.0.list()?.into_iter();
        let names = names.filter_map(|name| number_of(&name).map(table_name));
        Ok(names.collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(&actual(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(&actual(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(&actual(from), &actual(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(&actual(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}
