//! Lines of a request body, as they arrive.

use bytes::Bytes;
use headwater_wire::ndjson::Splitter;

use crate::error::Failure;

/// Returns the next line that isn't blank, without its LF, and its number. `limit` is that of a
/// line.
pub(crate) fn next_line(
    lines: &mut Splitter,
    limit: usize,
) -> Option<(u64, Result<Bytes, Failure>)> {
    loop {
        match lines.next() {
            Ok(Some(line)) if line.trim_ascii().is_empty() => {}
            Ok(line) => {
                let mut line = line?;
                line.truncate(line.len() - usize::from(line.ends_with(b"\n")));
                return Some((lines.items(), Ok(line)));
            }
            Err(error) => return Some((error.item(), Err(Failure::too_large("a line", limit)))),
        }
    }
}
