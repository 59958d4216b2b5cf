//! A sorted file: the records of a range of positions, in which each stream's bytes are contiguous.
//!
//! ```text
//! ├──────────────────────┬──────────────────────┬───────────────┬─────────────────┬─────────────────────┬────────┤
//! │ data: the records'   │ parts: the records   │ order: groups │ entries: what   │ directory: position │ footer │
//! │ bytes, by stream id, │ of each block,       │ of records by │ the index holds │ and length of each  │        │
//! │ then by offset       │ in the order of data │ position      │ about the file  │ group               │        │
//! └──────────────────────┴──────────────────────┴───────────────┴─────────────────┴─────────────────────┴────────┘
//!
//! footer
//! 0       4       8        16         24                              64      72      80        88      96     104
//! ├───────┼───────┼────────┼──────────┼───────────────────────────────┼───────┼───────┼─────────┼───────┼───────┤
//! │ HWS1  │version│ number │ identity │ ends of the sections, 5 × u64 │ first │ end   │ records │ bytes │ seal  │
//! └───────┴───────┴────────┴──────────┴───────────────────────────────┴───────┴───────┴─────────┴───────┴───────┘
//! first, end   the range of positions. Some of them may have no record
//! bytes        of the records' messages
//! seal         checksum of the bytes before it
//! ```
//!
//! Consecutive records of a stream form a [block](entry), which is what is read and checked as a whole.
//! The file has the description of its blocks twice: in `entries`, and as [entries](Entry) of an index
//! outside of it. The index finds the blocks of one stream. [`Group`]s serve readers of the order.
//!
//! Numbers are little-endian, `n` is a LEB128 number. The checksum of data is [`record::sum`].
//! Every other checksum is the XXH3-64, or its lower half, seeded with the identity of the log, the number
//! of the file and the offset of the bytes that it covers. So a file under another name fails its checks.
//!
//! A file never changes once it is written. Offsets in the file that are said to be *in* a section
//! count from its start.

mod entry;
mod order;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io::{self, ErrorKind},
    ops::Range,
    sync::Arc,
};

use headwater_journal::{Disk, DiskFile};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use self::entry::{BlockRef, Pair};
pub(crate) use self::{entry::Entry, writer::write};
use crate::disk::format::record::Head;

const MAGIC: [u8; 4] = *b"HWS1";
const VERSION: u32 = 1;
/// End of a sorted file's name.
const SUFFIX: &str = ".dat";
/// Length of the footer.
const FOOTER: usize = 104;
/// Number of bytes of the footer that the seal covers.
const COVERED: usize = 96;
const SECTIONS: usize = 5;
/// Number of bytes of a checksum at the end of a group, the entries and the directory.
const SUM: usize = 8;
/// Bytes that are read or written at once.
const CHUNK: usize = 256 << 10;

/// A record to be written, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The stream.
    pub(crate) id: u64,
    /// The offset of its first message.
    pub(crate) first: u64,
    pub(crate) head: Head,
    /// The checksum of its bytes, or `None` if they are checked when they are read.
    pub(crate) sum: Option<u32>,
    /// The file that holds its bytes, in a numbering of the caller.
    pub(crate) source: u32,
    /// The offset of its bytes in that file.
    pub(crate) at: u64,
}

/// An error of a sorted file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SortedError {
    /// The file isn't what was written.
    #[error("sorted file {file} is damaged at byte {offset}: {what}")]
    Damaged {
        file: u64,
        offset: u64,
        what: &'static str,
    },
    /// A record that can't be written.
    #[error("the record of stream {id} at offset {first} {what}")]
    Record {
        id: u64,
        first: u64,
        what: &'static str,
    },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Returns the name of a sorted file.
pub(crate) fn sorted_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// Returns the number of a sorted file, or `None` for another file.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (sorted_name(number) == name).then_some(number)
}

#[derive(Clone, Copy, Debug)]
enum Section {
    Data,
    Parts,
    Order,
    Entries,
    Directory,
}

/// The file that a checksum depends on.
#[derive(Clone, Copy, Debug)]
struct Seed {
    number: u64,
    identity: u64,
}

impl Seed {
    /// Returns the checksum of bytes at an offset of the file.
    fn sum(self, bytes: &[u8], offset: u64) -> u64 {
        let mut seed = [0; 24];
        seed[..8].copy_from_slice(&self.identity.to_le_bytes());
        seed[8..16].copy_from_slice(&self.number.to_le_bytes());
        seed[16..].copy_from_slice(&offset.to_le_bytes());
        xxh3_64_with_seed(bytes, xxh3_64(&seed))
    }

    /// Returns the lower half of the checksum.
    fn half_sum(self, bytes: &[u8], offset: u64) -> u32 {
        lower_half(self.sum(bytes, offset))
    }

    /// Appends the checksum of bytes that will be written at an offset.
    fn seal(self, bytes: &mut Vec<u8>, offset: u64) {
        let sum = self.sum(bytes, offset);
        bytes.extend_from_slice(&sum.to_le_bytes());
    }
}

fn lower_half(sum: u64) -> u32 {
    let [a, b, c, d, ..] = sum.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Footer {
    number: u64,
    identity: u64,
    /// The end of each section, in the order of [`Section`].
    ends: [u64; SECTIONS],
    range: Range<u64>,
    records: u64,
    bytes: u64,
}

impl Footer {
    fn seed(&self) -> Seed {
        Seed {
            number: self.number,
            identity: self.identity,
        }
    }

    /// Returns the offset of the footer, which is where the sections end.
    fn offset(&self) -> u64 {
        self.ends[SECTIONS - 1]
    }

    fn section(&self, section: Section) -> Range<u64> {
        let [data, parts, order, entries, directory] = self.ends;
        match section {
            Section::Data => 0..data,
            Section::Parts => data..parts,
            Section::Order => parts..order,
            Section::Entries => order..entries,
            Section::Directory => entries..directory,
        }
    }

    fn encode(&self) -> [u8; FOOTER] {
        let [data, parts, order, entries, directory] = self.ends;
        let numbers = [
            self.number,
            self.identity,
            data,
            parts,
            order,
            entries,
            directory,
            self.range.start,
            self.range.end,
            self.records,
            self.bytes,
        ];
        let mut out = [0; FOOTER];
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        for (place, number) in out[8..COVERED].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let seal = self.seed().sum(&out[..COVERED], self.offset());
        out[COVERED..].copy_from_slice(&seal.to_le_bytes());
        out
    }

    /// Decodes the footer at `offset` of file `number` of the log `identity`. Returns `None` for
    /// anything else.
    fn decode(bytes: &[u8; FOOTER], offset: u64, number: u64, identity: u64) -> Option<Self> {
        let number_at = |place: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[8 + 8 * place..16 + 8 * place]);
            u64::from_le_bytes(eight)
        };
        let footer = Self {
            number: number_at(0),
            identity: number_at(1),
            ends: [2, 3, 4, 5, 6].map(number_at),
            range: number_at(7)..number_at(8),
            records: number_at(9),
            bytes: number_at(10),
        };
        let is_right = footer.number == number
            && footer.identity == identity
            && footer.ends.is_sorted()
            && footer.offset() == offset;
        (is_right && footer.encode() == *bytes).then_some(footer)
    }
}

/// An open sorted file.
pub(crate) struct Sorted {
    file: Arc<dyn DiskFile>,
    footer: Footer,
}

impl Sorted {
    /// Opens a file. Only its footer is read and checked.
    ///
    /// # Errors
    /// [`SortedError::Damaged`] if the footer isn't the one of this file.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        number: u64,
        identity: u64,
    ) -> Result<Self, SortedError> {
        let file = disk.open(&sorted_name(number))?;
        let length = file.length()?;
        let damaged = |offset, what| SortedError::Damaged {
            file: number,
            offset,
            what,
        };
        let offset = length.checked_sub(FOOTER as u64);
        let offset = offset.ok_or_else(|| damaged(length, "it has no footer"))?;
        let mut bytes = [0; FOOTER];
        file.read_at(&mut bytes, offset)?;
        let footer = Footer::decode(&bytes, offset, number, identity);
        let footer = footer.ok_or_else(|| damaged(offset, "its footer"))?;
        Ok(Self { file, footer })
    }

    pub(crate) fn number(&self) -> u64 {
        self.footer.number
    }

    /// Returns the range of positions that it covers.
    pub(crate) fn range(&self) -> Range<u64> {
        self.footer.range.clone()
    }

    /// Returns the number of records.
    pub(crate) fn records(&self) -> u64 {
        self.footer.records
    }

    /// Returns the bytes of all messages.
    pub(crate) fn bytes(&self) -> u64 {
        self.footer.bytes
    }

    /// Returns the length of the file.
    #[cfg(test)]
    fn length(&self) -> u64 {
        self.footer.offset() + FOOTER as u64
    }

    fn damaged(&self, offset: u64, what: &'static str) -> SortedError {
        SortedError::Damaged {
            file: self.footer.number,
            offset,
            what,
        }
    }

    /// Reads `length` bytes at an offset in a section. Memory is reserved once it is known that
    /// the section has them.
    fn load(&self, section: Section, at: u64, length: u64) -> Result<Vec<u8>, SortedError> {
        let section = self.footer.section(section);
        let outside = || self.damaged(section.end, "something refers to bytes after a section");
        let start = section.start.checked_add(at).ok_or_else(outside)?;
        let end = start.checked_add(length).ok_or_else(outside)?;
        if end > section.end {
            return Err(outside());
        }
        let length = usize::try_from(length).map_err(|_| outside())?;
        let bytes = self.file.read(start, length);
        bytes.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged(start, "the file has become shorter"),
            _ => error.into(),
        })
    }

    /// Reads bytes of a section that end with a checksum, without the checksum.
    fn load_sealed(
        &self,
        section: Section,
        at: u64,
        length: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, SortedError> {
        let mut bytes = self.load(section, at, length)?;
        let offset = self.footer.section(section).start + at;
        match bytes.split_last_chunk::<SUM>() {
            Some((body, sum))
                if self.footer.seed().sum(body, offset) == u64::from_le_bytes(*sum) =>
            {
                bytes.truncate(bytes.len() - SUM);
                Ok(bytes)
            }
            _ => Err(self.damaged(offset, what)),
        }
    }

    /// Reads a whole section that ends with a checksum, without the checksum.
    fn load_section(&self, section: Section, what: &'static str) -> Result<Vec<u8>, SortedError> {
        let range = self.footer.section(section);
        self.load_sealed(section, 0, range.end - range.start, what)
    }
}
