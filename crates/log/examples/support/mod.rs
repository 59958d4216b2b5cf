//! Functions that the examples share.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use headwater_log::StreamName;

/// Returns the name of a stream by its number.
pub(crate) fn name(stream: usize) -> StreamName {
    StreamName::new(&format!("bench/{stream}")).expect("it is a name")
}

/// Returns the disk space of a folder in bytes, as allocated.
pub(crate) fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
