//! The results of an earlier run.

use std::{
    collections::HashMap,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use headwater_client::gather::Call;
use serde::{Deserialize, de::IgnoredAny};

use super::output::{Output, failure};
use crate::{exit::Failure, file::Target};

/// The calls that already have a successful result. Only two hashes are kept of each: 128 bits, so
/// that a collision is practically impossible.
#[derive(Default)]
pub(super) struct Earlier {
    hashes: (RandomState, RandomState),
    /// The number of results by hash.
    results: HashMap<(u64, u64), u32>,
}

/// The members of a result that identify its call.
#[derive(Deserialize)]
struct Line {
    index: u64,
    key: Option<String>,
    url: Option<String>,
    /// Identifies a result: all results have it, and few other objects with an index do.
    #[serde(rename = "attempts")]
    _attempts: IgnoredAny,
    error: Option<IgnoredAny>,
}

impl Earlier {
    pub(super) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Returns `true` if the call has a result, and removes that result.
    pub(super) fn takes(&mut self, index: u64, call: &Call) -> bool {
        if self.is_empty() {
            return false;
        }
        let hash = self.hash(call.key_str(), index, &call.public_url());
        let Some(results) = self.results.get_mut(&hash) else {
            return false;
        };
        *results -= 1;
        if *results == 0 {
            self.results.remove(&hash);
        }
        true
    }

    fn add(&mut self, line: &Line) {
        if line.error.is_some() {
            return;
        }
        let url = line.url.as_deref().unwrap_or_default();
        let hash = self.hash(line.key.as_deref(), line.index, url);
        *self.results.entry(hash).or_default() += 1;
    }

    fn hash(&self, key: Option<&str>, index: u64, url: &str) -> (u64, u64) {
        let named = match key {
            Some(key) => (None, key),
            None => (Some(index), url),
        };
        (self.hashes.0.hash_one(named), self.hashes.1.hash_one(named))
    }
}

/// Reads the results in the file, and opens it to append to it. Creates it if it doesn't exist.
pub(super) fn open(path: &Path) -> Result<(Earlier, Output), Failure> {
    let name = path.display().to_string();
    let mut target = Target::resume(path)
        .map_err(|error: io::Error| failure(&format!("--resume {name}"), &error))?;
    let (earlier, end) = match target.file() {
        Some(file) => read(&name, file)?,
        None => (Earlier::default(), 0),
    };
    // The first result replaces a truncated last line, because nothing can be appended to that.
    target.keep(end);
    Ok((earlier, Output::appending(target, name)))
}

/// Reads the results. Returns them with the end of the last whole line.
fn read(name: &str, file: &File) -> Result<(Earlier, u64), Failure> {
    let mut earlier = Earlier::default();
    let (mut lines, mut line, mut end, mut number) = (BufReader::new(file), Vec::new(), 0, 0_u64);
    loop {
        line.clear();
        let read = lines
            .read_until(b'\n', &mut line)
            .map_err(|error| failure(name, &error))?;
        if read == 0 {
            return Ok((earlier, end));
        }
        number += 1;
        let is_whole = line.last() == Some(&b'\n');
        let parsed = serde_json::from_slice::<Line>(&line);
        match parsed {
            Ok(result) if is_whole => earlier.add(&result),
            // Don't modify a file with other content.
            Err(_) if is_whole || !is_cut_result(&line) => {
                return Err(Failure::other(format!(
                    "{name}: line {number} is not a result of `headwater gather`; --resume takes the output file of \
                     an earlier run"
                )));
            }
            Ok(_) | Err(_) => return Ok((earlier, end)),
        }
        end += read as u64;
    }
}

/// Returns `true` if the line can be the start of a result.
fn is_cut_result(line: &[u8]) -> bool {
    let start = br#"{"index":"#;
    let length = line.len().min(start.len());
    line[..length] == start[..length]
}
