use super::{
    brackets::{Bracket, Brackets},
    swar::until_quote_or_escape,
};
use crate::{error::Kind, work_counter};

/// A search for the end of an array, object or string that arrives in pieces. It matches brackets
/// and quotes only; the deserialiser checks the rest of the grammar.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    open: Brackets,
    in_string: bool,
    /// `true` if the last byte was a backslash in a string.
    escaped: bool,
}

impl Scan {
    /// Reads the next piece. The first byte of the first piece, `[`, `{` or `"`, starts the value.
    /// Returns the index at which the value ends, if it does.
    ///
    /// # Errors
    ///
    /// A bracket that doesn't match or is too deep, with its index.
    pub(crate) fn piece(
        &mut self,
        bytes: &[u8],
        max_depth: usize,
    ) -> Result<Option<usize>, (Kind, usize)> {
        let mut at = 0;
        loop {
            if self.in_string {
                let Some(len) = self.string(&bytes[at..]) else {
                    return Ok(None);
                };
                at += len;
                if self.open.depth() == 0 {
                    return Ok(Some(at));
                }
            }
            let found = bytes[at..]
                .iter()
                .position(|byte| STRUCTURAL[usize::from(*byte)]);
            work_counter::count(found.unwrap_or(bytes.len() - at));
            let Some(len) = found else { return Ok(None) };
            at += len;
            match bytes[at] {
                b'"' => self.in_string = true,
                opener @ (b'[' | b'{') => {
                    if self.open.depth() == max_depth {
                        return Err((Kind::TooDeep { limit: max_depth }, at));
                    }
                    let brace = opener == b'{';
                    self.open.push(if brace {
                        Bracket::Brace
                    } else {
                        Bracket::Square
                    });
                }
                closer => {
                    match (self.open.last(), closer) {
                        (Some(Bracket::Square), b']') | (Some(Bracket::Brace), b'}') => {}
                        (Some(Bracket::Square), _) => {
                            return Err((Kind::Syntax("expected \"]\", found \"}\""), at));
                        }
                        _ => return Err((Kind::Syntax("expected \"}\", found \"]\""), at)),
                    }
                    self.open.pop();
                    if self.open.depth() == 0 {
                        return Ok(Some(at + 1));
                    }
                }
            }
            at += 1;
        }
    }

    /// Continues in a string. Returns the number of bytes up to its end, if it ends.
    #[inline]
    fn string(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.escaped && !bytes.is_empty() {
            self.escaped = false;
            at = 1;
        }
        loop {
            let len = until_quote_or_escape(&bytes[at..]);
            work_counter::count(len);
            at += len;
            if *bytes.get(at)? == b'"' {
                self.in_string = false;
                return Some(at + 1);
            }
            at += 2;
            if at > bytes.len() {
                self.escaped = true;
                return None;
            }
        }
    }
}

/// Returns the index of the first bracket deeper than `max_depth`. The value may be malformed.
pub(crate) fn too_deep(bytes: &[u8], max_depth: usize) -> Option<usize> {
    // Nearly every value has fewer brackets than the limit, and counting them is fast.
    let openers = || bytes.iter().filter(|byte| **byte | 0x20 == b'{').count();
    if bytes.len() <= max_depth || openers() <= max_depth {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        at += bytes[at..]
            .iter()
            .position(|byte| STRUCTURAL[usize::from(*byte)])?;
        match bytes[at] {
            b'"' => {
                let mut string = Scan {
                    in_string: true,
                    ..Scan::default()
                };
                at += string.string(&bytes[at + 1..])?;
            }
            b'[' | b'{' if depth == max_depth => return Some(at),
            b'[' | b'{' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        at += 1;
    }
}

/// The bytes with a meaning outside of strings.
static STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b"\"[]{}";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};
