//! The manifest: the list of the log's files, and the commit up to which the index is in tables.
//!
//! The file is replaced as a whole: written under another name, synced, and renamed. It has a copy,
//! which is replaced with it, for a log whose manifest is damaged or missing.
//!
//! ```text
//! version n │ identity u64 │ index head n × 6 │ segment n │ next commit n │ link n │ next file n
//! number of tables n, then for each, oldest first: number n │ level n
//! number of tables of the catalog n, then for each, oldest first: number n │ level n
//! number of sorted files n, then for each, in the order of their positions: number n
//! seal (8 bytes)
//! ```
//!
//! - *index head* is the state of the log after the last commit whose changes are in tables.
//! - *segment*, *next commit* and *link* are the start of the oldest segment that isn't in a sorted
//!   file. Opening the log reads the segments from there on.

use std::io::{self, IoSlice};

use headwater_journal::{Checkpoint, Disk, TableRef, Tail};

use super::VERSION;
use super::bytes::{Cursor, Malformed, put_number, seal, unseal};
use super::log_head::Head;
use crate::error::{Error, Kind, Remedy};

/// The name of the file.
pub(crate) const NAME: &str = "manifest";
const NEW: &str = "manifest.new";
/// The name of its copy.
pub(crate) const COPY: &str = "manifest.copy";
const NEW_COPY: &str = "manifest.copy.new";

/// The files of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The log's random number.
    pub(crate) identity: u64,
    /// The commit up to which the index is in tables.
    pub(crate) head: Head,
    /// The start of the oldest segment that isn't in a sorted file.
    pub(crate) segments: Checkpoint,
    /// The number of the next table or sorted file. Numbers that the manifest has named aren't used
    /// again.
    pub(crate) next_file: u64,
    /// The tables of the index, oldest first.
    pub(crate) tables: Vec<TableRef>,
    /// The tables of the catalog, oldest first.
    pub(crate) catalog: Vec<TableRef>,
    /// Sorted files, in the order of their positions.
    pub(crate) sorted: Vec<u64>,
}

impl Manifest {
    /// Returns the manifest of an empty log.
    pub(crate) fn new(identity: u64) -> Self {
        Self {
            identity,
            head: Head::EMPTY,
            segments: Checkpoint {
                segment: 1,
                tail: Tail { next: 1, link: 0 },
            },
            next_file: 1,
            tables: Vec::new(),
            catalog: Vec::new(),
            sorted: Vec::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, VERSION);
        out.extend_from_slice(&self.identity.to_le_bytes());
        for number in self.head.numbers() {
            put_number(&mut out, number);
        }
        put_number(&mut out, self.segments.segment);
        put_number(&mut out, self.segments.tail.next);
        put_number(&mut out, self.segments.tail.link.into());
        put_number(&mut out, self.next_file);
        for tables in [&self.tables, &self.catalog] {
            put_number(&mut out, tables.len() as u64);
            for table in tables {
                put_number(&mut out, table.number);
                put_number(&mut out, table.level.into());
            }
        }
        put_number(&mut out, self.sorted.len() as u64);
        for number in &self.sorted {
            put_number(&mut out, *number);
        }
        seal(NAME.as_bytes(), out)
    }

    fn decode(file: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(unseal(NAME.as_bytes(), file)?);
        let _version = cursor.number()?;
        let identity = cursor.take(8)?.try_into().map_err(|_| Malformed)?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = cursor.number()?;
        }
        let segment = cursor.number()?;
        let tail = Tail {
            next: cursor.number()?,
            link: u32::try_from(cursor.number()?).map_err(|_| Malformed)?,
        };
        let mut manifest = Self {
            identity: u64::from_le_bytes(identity),
            head: Head::from_numbers(numbers),
            segments: Checkpoint { segment, tail },
            next_file: cursor.number()?,
            tables: Vec::new(),
            catalog: Vec::new(),
            sorted: Vec::new(),
        };
        for tables in [&mut manifest.tables, &mut manifest.catalog] {
            for _ in 0..cursor.number()? {
                tables.push(TableRef {
                    number: cursor.number()?,
                    level: u8::try_from(cursor.number()?).map_err(|_| Malformed)?,
                });
            }
        }
        for _ in 0..cursor.number()? {
            manifest.sorted.push(cursor.number()?);
        }
        cursor.end()?;
        Ok(manifest)
    }

    /// Replaces the manifest and its copy. They are durable afterwards, as are all names of files in
    /// the folder.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        self.prepare(disk)?;
        Self::replace(disk)
    }

    /// Writes the manifest and its copy under other names. After an error, the old ones are valid.
    pub(crate) fn prepare(&self, disk: &dyn Disk) -> io::Result<()> {
        self.write_as(disk, NEW)?;
        self.write_as(disk, NEW_COPY)
    }

    fn write_as(&self, disk: &dyn Disk, name: &str) -> io::Result<()> {
        match disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(name)?;
        file.write_at(&mut [IoSlice::new(&self.encode())], 0)?;
        file.sync()
    }

    /// Makes a [prepared](Self::prepare) manifest the valid one. After an error, either one can be,
    /// and the copy can be the other one.
    pub(crate) fn replace(disk: &dyn Disk) -> io::Result<()> {
        disk.rename(NEW, NAME)?;
        disk.rename(NEW_COPY, COPY)?;
        disk.sync()
    }

    /// Writes the copy again if it isn't this manifest.
    pub(crate) fn restore_copy(&self, disk: &dyn Disk) -> io::Result<()> {
        if matches!(Self::read_copy(disk), Ok(Some(copy)) if copy == *self) {
            return Ok(());
        }
        self.write_as(disk, NEW_COPY)?;
        disk.rename(NEW_COPY, COPY)?;
        disk.sync()
    }

    /// Reads the manifest. Returns `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        Self::read_from(disk, NAME)
    }

    /// Reads the manifest, or its copy if it is damaged or missing. Returns `None` if there is neither.
    pub(crate) fn read_either(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        match Self::read(disk) {
            Ok(Some(manifest)) => Ok(Some(manifest)),
            Err(error) if !error.is_damaged() => Err(error),
            failed => match Self::read_copy(disk) {
                Err(_) | Ok(None) => failed,
                copy => copy,
            },
        }
    }

    /// Reads the copy. Returns `None` if there is none.
    pub(crate) fn read_copy(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        Self::read_from(disk, COPY)
    }

    fn read_from(disk: &dyn Disk, name: &str) -> Result<Option<Self>, Error> {
        let read = || -> io::Result<Vec<u8>> {
            let file = disk.open(name)?;
            let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
            let mut content = vec![0; length];
            file.read_at(&mut content, 0)?;
            Ok(content)
        };
        let content = match read() {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(std::path::Path::new(name), error)),
        };
        if unseal(NAME.as_bytes(), &content).is_ok()
            && let Ok(version) = Cursor(&content).number()
            && version != VERSION
        {
            return Err(Kind::Version { found: version }.into());
        }
        let manifest = Self::decode(&content);
        manifest.map(Some).map_err(|Malformed| {
            Error::damaged(format!("the file `log/{name}`")).with_remedy(Remedy::RebuildIndex)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_manifest_round_trips_and_no_bit_of_it_can_change(
            identity: u64, numbers: [u64; 6], segment: [u64; 2], link: u32, next_file: u64,
            tables in prop::collection::vec((any::<u64>(), any::<u8>()), 0..9),
            catalog in prop::collection::vec((any::<u64>(), any::<u8>()), 0..9),
            sorted in prop::collection::vec(any::<u64>(), 0..9), bit in any::<prop::sample::Index>(),
        ) {
            let table = |(number, level)| TableRef { number, level };
            let manifest = Manifest {
                identity,
                head: Head::from_numbers(numbers),
                segments: Checkpoint { segment: segment[0], tail: Tail { next: segment[1], link } },
                next_file,
                tables: tables.into_iter().map(table).collect(),
                catalog: catalog.into_iter().map(table).collect(),
                sorted,
            };
            let mut encoded = manifest.encode();
            prop_assert_eq!(Manifest::decode(&encoded), Ok(manifest));
            let bit = bit.index(encoded.len() * 8);
            encoded[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Manifest::decode(&encoded), Err(Malformed));
        }
    }
}
