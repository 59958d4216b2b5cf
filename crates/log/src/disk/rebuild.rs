//! Rebuilding of the index from the catalog and the sorted files, or of the catalog from the index.

use std::sync::Arc;

use headwater_journal::{BlockCache, Disk, Table, TableError, TableRef, TableWriter, table_name};

use super::catalog::{self, CatalogDisk};
use super::failure::io_failure;
use super::format::manifest::Manifest;
use super::recovery::{lacks_manifest, open_sorted, remove_unnamed};
use super::sorted::{Entry, Sorted, sorted_name};
use crate::error::Error;

/// A report on [`DiskLog::rebuild_index`](crate::DiskLog::rebuild_index).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// `true` if the catalog was damaged, and was rebuilt from the index. `false` if the index was
    /// rebuilt.
    pub is_catalog: bool,
    /// Number of pairs that were written.
    pub pairs: u64,
    /// Number of sorted files from which locations were read.
    pub sorted_files: u64,
}

/// Rebuilds the index of the log on a disk. If the catalog is damaged, rebuilds the catalog instead.
///
/// Until the manifest is replaced, the log is as it was.
pub(crate) fn rebuild(disk: &Arc<dyn Disk>) -> Result<Rebuilt, Error> {
    let Some(mut manifest) = Manifest::read_either(&**disk)? else {
        return match lacks_manifest(&**disk)? {
            Some(error) => Err(error),
            None => Ok(Rebuilt::default()),
        };
    };
    // Without these files, the log can't be opened in any case.
    open_sorted(disk, &manifest)?;
    manifest.restore_copy(&**disk).map_err(io_failure)?;
    // A rebuild that was interrupted leaves files, whose numbers are used now.
    remove_unnamed(&**disk, &manifest)?;
    let rebuilt = match rebuild_index(disk, &mut manifest) {
        Err(error) if error.is_damaged() => {
            tracing::warn!(%error, "the index can't be rebuilt; the catalog is rebuilt from it");
            let rebuilt = rebuild_catalog(disk, &mut manifest);
            rebuilt.map_err(|other| match other.is_damaged() {
                true => Error::damaged(format!("the index and the catalog: {other}; {error}")),
                false => other,
            })?
        }
        rebuilt => rebuilt?,
    };
    manifest.write(&**disk).map_err(io_failure)?;
    remove_unnamed(&**disk, &manifest)?;
    Ok(rebuilt)
}

/// Writes new tables of the index: those of the catalog, and the locations in the sorted files.
fn rebuild_index(disk: &Arc<dyn Disk>, manifest: &mut Manifest) -> Result<Rebuilt, Error> {
    let of_catalog = CatalogDisk::of(disk);
    let mut new = NewTables::new(disk, manifest.next_file);
    for table in &manifest.catalog {
        new.copy(&of_catalog, *table, catalog::failed, |_| true)?;
    }
    for number in &manifest.sorted {
        let file = Sorted::open(disk, *number, manifest.identity)?;
        match file.entries() {
            Ok(entries) => {
                new.write(0, |writer| {
                    let mut entries = entries.iter();
                    entries.try_for_each(|(key, value)| put(writer, key, Some(value)))
                })?;
            }
            // The rest of the log can be read without its records.
            Err(error) => {
                let (file, error) = (sorted_name(*number), &error as &dyn std::error::Error);
                tracing::error!(file, error, "the messages in a sorted file can't be read");
            }
        }
    }
    let sorted_files = manifest.sorted.len() as u64;
    let pairs = new.pairs;
    (manifest.tables, manifest.next_file) = new.done();
    Ok(Rebuilt {
        is_catalog: false,
        pairs,
        sorted_files,
    })
}

/// Writes new tables of the catalog: those of the index without the locations in sorted files.
fn rebuild_catalog(disk: &Arc<dyn Disk>, manifest: &mut Manifest) -> Result<Rebuilt, Error> {
    let of_catalog = CatalogDisk::of(disk);
    let mut new = NewTables::new(&of_catalog, manifest.next_file);
    for table in &manifest.tables {
        new.copy(disk, *table, Error::from, |key| {
            Entry::key_of(key).is_none()
        })?;
    }
    let pairs = new.pairs;
    (manifest.catalog, manifest.next_file) = new.done();
    Ok(Rebuilt {
        is_catalog: true,
        pairs,
        sorted_files: 0,
    })
}

/// New tables on a disk. Their files are removed if they are dropped before [`done`](Self::done).
struct NewTables<'a> {
    disk: &'a Arc<dyn Disk>,
    /// The oldest first.
    tables: Vec<TableRef>,
    next: u64,
    pairs: u64,
}

impl<'a> NewTables<'a> {
    fn new(disk: &'a Arc<dyn Disk>, next: u64) -> Self {
        Self {
            disk,
            tables: Vec::new(),
            next,
            pairs: 0,
        }
    }

    /// Copies the pairs of a table on another disk whose keys are `wanted`.
    fn copy(
        &mut self,
        from: &Arc<dyn Disk>,
        table: TableRef,
        failed: impl Fn(TableError) -> Error,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let cache = BlockCache::new(0);
        let old = Table::open(from, table.number).map_err(&failed)?;
        self.write(table.level, |writer| {
            for pair in old.iter_from(&[], &cache) {
                let (key, value) = pair.map_err(&failed)?;
                if wanted(&key) {
                    put(writer, &key, value.as_deref())?;
                }
            }
            Ok(())
        })
    }

    /// Writes a table.
    fn write(
        &mut self,
        level: u8,
        content: impl FnOnce(&mut TableWriter) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let number = self.next;
        self.next += 1;
        let mut writer = TableWriter::create(self.disk, number).map_err(io_failure)?;
        content(&mut writer)?;
        let table = writer.finish().map_err(io_failure)?;
        self.pairs += table.pairs();
        self.tables.push(TableRef { number, level });
        Ok(())
    }

    /// Returns the tables and the number of the next file.
    fn done(mut self) -> (Vec<TableRef>, u64) {
        (std::mem::take(&mut self.tables), self.next)
    }
}

impl Drop for NewTables<'_> {
    fn drop(&mut self) {
        for table in &self.tables {
            // No manifest names the file, so opening the log removes it if this fails.
            let _ = self.disk.remove(&table_name(table.number));
        }
    }
}

fn put(writer: &mut TableWriter, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
    writer.put(key, value).map_err(io_failure)
}
