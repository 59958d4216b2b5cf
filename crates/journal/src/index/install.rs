//! The list of tables and its changes.

use std::ops::Range;

use crate::table::Table;

/// A table as the manifest lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableRef {
    /// The number in the name of its file.
    pub number: u64,
    /// The number of times that its pairs were merged, at most.
    pub level: u8,
}

/// A change of the list of tables.
pub enum Install {
    /// The table of the frozen changes becomes the newest table, and the frozen changes are dropped.
    Checkpoint(Table),
    /// Another table becomes the newest table. Changes in memory stay and hide it.
    Add(Table),
    /// A merge replaces its inputs.
    Replace {
        /// The inputs, the oldest first.
        old: Vec<TableRef>,
        /// Their merge.
        table: Table,
        /// Its level.
        level: u8,
    },
}

impl Install {
    /// Returns the number of the new table.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.table().0.number()
    }

    /// Returns the table and its level.
    pub(super) fn table(&self) -> (&Table, u8) {
        match self {
            Self::Checkpoint(table) | Self::Add(table) => (table, 0),
            Self::Replace { table, level, .. } => (table, *level),
        }
    }

    /// Returns the part of the list that the table replaces. `None` if it doesn't contain the inputs.
    pub(super) fn place(&self, tables: &[TableRef]) -> Option<Range<usize>> {
        match self {
            Self::Checkpoint(_) | Self::Add(_) => Some(tables.len()..tables.len()),
            Self::Replace { old, .. } => run(tables, old),
        }
    }
}

/// Returns the place of neighbouring tables in a list.
pub(super) fn run(tables: &[TableRef], wanted: &[TableRef]) -> Option<Range<usize>> {
    let first = wanted.first()?;
    let start = tables.iter().position(|table| table == first)?;
    let place = start..start + wanted.len();
    (tables.get(place.clone()) == Some(wanted)).then_some(place)
}
