//! The place in an item at which writing it stopped.

use std::fmt::Write as _;

/// Where the next value would stand after `written`, the beginning of an item: a JSON Pointer as a URI's fragment (RFC 6901
/// §6), but with its characters as they are. A pointer of more than [`LONGEST`] bytes is cut, and ends in `…`.
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

/// The longest pointer that is given, in bytes.
const LONGEST: usize = 200;

/// Where an open array or object is.
enum Step<'a> {
    Index(usize),
    /// The last name, as it is written between its quotes.
    Name(&'a [u8]),
}

/// How long a string is that starts after its quote.
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
