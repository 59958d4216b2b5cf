//! A token in a file.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{MAX_TOKEN_BYTES, bearer, bearer::Bearer, failed};
use crate::error::Error;

/// The line breaks that may follow a token: `\r\n` twice.
const MAX_LINE_BREAKS: usize = 4;

/// Reads a token from a file, outside the runtime's threads: the file may be on a slow disk.
pub(super) async fn read(path: PathBuf) -> Result<Bearer, Error> {
    let reading = tokio::task::spawn_blocking(move || read_now(&path));
    let read = reading.await;
    read.unwrap_or_else(|error| Err(failed("its file can't be read").with_source(error)))
}

fn read_now(path: &Path) -> Result<Bearer, Error> {
    let unreadable = |error: io::Error| {
        failed(format_args!("{} can't be read", path.display())).with_source(error)
    };
    // Opening a pipe could wait for ever, and a pipe yields its content only once.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        let what = format_args!(
            "{} is not a regular file, and it is read again for each attempt",
            path.display()
        )
        .to_string();
        return Err(failed(what));
    }
    let mut text = Vec::new();
    let most = (MAX_TOKEN_BYTES + MAX_LINE_BREAKS + 1) as u64;
    let file = File::open(path).map_err(unreadable)?;
    file.take(most).read_to_end(&mut text).map_err(unreadable)?;
    let text = String::from_utf8(text)
        .map_err(|_| failed(format_args!("{} is not UTF-8", path.display())))?;
    let token = text.trim_end_matches(['\r', '\n']);
    match bearer::fault(token) {
        None => Bearer::new(token.to_owned()),
        Some(fault) => Err(failed(format_args!("that of {} {fault}", path.display()))),
    }
}
