//! Lines of the standard output.

use std::io::{self, Write as _};

use headwater_wire::json;
use serde::Serialize;

use crate::exit::Failure;

/// Formats a value as a line of JSON.
pub(crate) fn on_one_line(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = Vec::new();
    json::encode_on_one_line(value, &mut text)
        .map_err(|error| Failure::other(format!("can't write the result: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Prints a line. A closed output is not an error.
pub(crate) fn say(line: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("the standard output: {error}")))
        }
        _ => Ok(()),
    }
}
