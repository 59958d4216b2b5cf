//! Writing of a table.

use std::{io, sync::Arc};

use super::{
    Table,
    block::{self, BLOCK, SUM},
    filter::{self, KeyHash},
    footer::Footer,
    table_name,
};
use crate::{disk::Disk, new_file::NewFile};

/// Bytes that are written at once.
const PIECE: usize = 256 << 10;

/// A table that is being written. Its file is removed if it is dropped before
/// [`finish`](Self::finish).
///
/// It keeps 8 bytes per pair in memory, for the filter.
pub struct TableWriter {
    disk: Arc<dyn Disk>,
    file: NewFile,
    number: u64,
    /// The bytes that follow those in the file.
    buffer: Vec<u8>,
    /// Offset in `buffer` of the block that isn't complete.
    block: usize,
    /// Its first key.
    first: Vec<u8>,
    /// The key of the last pair.
    last: Vec<u8>,
    /// The complete blocks.
    directory: Vec<u8>,
    keys: Vec<KeyHash>,
    is_finished: bool,
}

impl TableWriter {
    /// Creates the file of a table.
    ///
    /// # Errors
    /// The file exists, or can't be created.
    pub fn create(disk: &Arc<dyn Disk>, number: u64) -> io::Result<Self> {
        Ok(Self {
            disk: Arc::clone(disk),
            file: NewFile::create(&**disk, &table_name(number))?,
            number,
            buffer: Vec::new(),
            block: 0,
            first: Vec::new(),
            last: Vec::new(),
            directory: Vec::new(),
            keys: Vec::new(),
            is_finished: false,
        })
    }

    /// Adds a pair, or with `None` a deletion. Its key must be greater than the last one.
    ///
    /// A key may have up to 4 KiB and a value up to 1 MiB. More is slow, but not an error.
    ///
    /// # Errors
    /// The disk failed. The table can't be finished.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        debug_assert!(
            self.keys.is_empty() || self.last.as_slice() < key,
            "the keys of a table ascend"
        );
        if self.buffer.len() > self.block {
            let start = self.buffer.len();
            block::push_pair(&mut self.buffer, &self.last, key, value);
            if self.buffer.len() - self.block + SUM > BLOCK {
                self.buffer.truncate(start);
                self.end_block()?;
            }
        }
        if self.buffer.len() == self.block {
            self.first.clear();
            self.first.extend_from_slice(key);
            block::push_pair(&mut self.buffer, &[], key, value);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.keys.push(KeyHash::new(key));
        Ok(())
    }

    /// Completes the table and syncs its file. Its name is durable after [`Disk::sync`].
    ///
    /// # Errors
    /// The disk failed. The file is removed.
    pub fn finish(mut self) -> io::Result<Table> {
        if self.buffer.len() > self.block {
            self.end_block()?;
        }
        let mut tail = Vec::new();
        block::push_number(&mut tail, self.last.len() as u64);
        tail.extend_from_slice(&self.last);
        tail.extend_from_slice(&self.directory);
        let directory = tail.len() as u64;
        let filter = filter::build(&self.keys);
        tail.extend_from_slice(&filter);
        let footer = Footer {
            blocks: self.file.written() + self.buffer.len() as u64,
            directory,
            filter: filter.len() as u64,
            pairs: self.keys.len() as u64,
        };
        footer.seal(&mut tail, self.number);
        self.buffer.extend_from_slice(&tail);
        self.write(self.buffer.len())?;
        let file = self.file.finish()?;
        let table = Table::new(file, self.number, footer, tail).map_err(io::Error::other)?;
        self.is_finished = true;
        Ok(table)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let offset = self.file.written() + self.block as u64;
        let sum = block::sum(&self.buffer[self.block..], self.number, offset);
        self.buffer.extend_from_slice(&sum);
        let length = self.buffer.len() - self.block;
        block::push_number(&mut self.directory, length as u64);
        block::push_number(&mut self.directory, self.first.len() as u64);
        self.directory.extend_from_slice(&self.first);
        self.block = self.buffer.len();
        self.write(self.buffer.len() / PIECE * PIECE)
    }

    /// Writes this number of bytes of the buffer, which are of complete blocks.
    fn write(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.file.write(&self.buffer[..bytes])?;
        self.buffer.drain(..bytes);
        self.block = self.block.saturating_sub(bytes);
        Ok(())
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // No manifest names the file, so a later start removes it if this fails.
            let _ = self.disk.remove(&table_name(self.number));
        }
    }
}
