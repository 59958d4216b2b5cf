//! The location in an item at which writing stopped.

use std::fmt::Write as _;

/// Returns the location of the next value after `written`, the beginning of an item: a JSON Pointer
/// as a URI fragment (RFC 6901 §6), but without percent-encoding. A pointer of more than
/// [`LONGEST`] bytes is cut and ends in `…`.
pub(super) fn at_end_of(written: &[u8]) -> String {
    let mut open = Vec::new();
    let mut rest = written;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'[' => open.push(Step::Index(0)),
            b'{' => open.push(Step::Name(&[])),
            b']' | b'}' => drop(open.pop()),
            b',' => {
                if let Some(Step::Index(index)) = open.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let end = end_of_string(rest);
                let (text, after) = rest.split_at(end);
                rest = after.get(1..).unwrap_or_default();
                if rest.first() == Some(&b':')
                    && let Some(Step::Name(name)) = open.last_mut()
                {
                    *name = text;
                }
            }
            _ => {}
        }
    }
    pointer(&open)
}

/// Maximum length of a pointer, in bytes.
const LONGEST: usize = 200;

/// A position in an open array or object.
enum Step<'a> {
    Index(usize),
    /// The last name, as written between its quotes.
    Name(&'a [u8]),
}

/// Returns the length of a string that starts after its quote.
fn end_of_string(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn pointer(steps: &[Step<'_>]) -> String {
    let mut pointer = "#".to_owned();
    for step in steps {
        // Writing to a string can't fail.
        let _ = match step {
            Step::Index(index) => write!(pointer, "/{index}"),
            Step::Name(name) => {
                let name = String::from_utf8_lossy(name)
                    .replace('~', "~0")
                    .replace('/', "~1");
                write!(pointer, "/{name}")
            }
        };
        if pointer.len() > LONGEST {
            pointer.truncate(pointer.floor_char_boundary(LONGEST));
            pointer.push('…');
            break;
        }
    }
    pointer
}
