use std::ops::Range;

use super::{
    brackets::{Bracket, Brackets},
    is_space,
    swar::until_special,
    trim,
};
use crate::{str_bytes::is_ascii, work_counter};

/// The reason for which some bytes aren't one JSON text, with its offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {fault}")]
pub struct CheckError {
    offset: usize,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("{0}")]
    Expected(&'static str),
    #[error("{0}, found the end")]
    End(&'static str),
    #[error("nested deeper than the limit of {0}")]
    TooDeep(usize),
    #[error("more elements than the limit of {0}")]
    TooMany(usize),
    #[error("not valid UTF-8")]
    Utf8,
}

impl CheckError {
    /// Returns the number of bytes before the fault.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    crate::predicates! { error => error.fault;
        /// Returns `true` if the bytes end before the JSON text does. More bytes could complete it.
        is_end: Fault::End(_),
        /// Returns `true` if arrays and objects nest deeper than allowed.
        is_too_deep: Fault::TooDeep(_),
        /// Returns `true` if the array has more elements than allowed.
        is_too_many: Fault::TooMany(_),
        /// Returns `true` if the bytes aren't UTF-8.
        is_utf8: Fault::Utf8,
    }

    /// Returns the syntax that the grammar requires at [`offset`](Self::offset), if the fault is
    /// one of grammar.
    #[must_use]
    pub fn expected(&self) -> Option<&'static str> {
        match self.fault {
            Fault::Expected(what) | Fault::End(what) => Some(what),
            Fault::TooDeep(_) | Fault::TooMany(_) | Fault::Utf8 => None,
        }
    }
}

/// Checks that `bytes` is exactly one JSON text by RFC 8259 in UTF-8, with white space around it
/// allowed and a nesting depth of at most `max_depth` (`[[1]]` has depth 2).
///
/// Linear in the input, without recursion. Unlike a deserialiser it accepts unpaired surrogates in
/// `\u` escapes, repeated names and numbers of any size, because the grammar allows all of them.
///
/// ```
/// use headwater_wire::json;
///
/// assert!(json::check(br#"{"a": [1, 2e3, "\u00fc"]}"#, 2).is_ok());
/// assert!(json::check(b"[[1]]", 1).is_err_and(|error| error.is_too_deep()));
/// let error = json::check(b"[1,]", 128).unwrap_err();
/// assert_eq!(error.to_string(), "byte 3: expected a value");
/// ```
///
/// # Errors
///
/// The first fault. Invalid UTF-8 is a fault at its first bad byte.
pub fn check(bytes: &[u8], max_depth: usize) -> Result<(), CheckError> {
    walk(bytes, max_depth, ())
}

/// Checks as [`check`] does, and returns the ranges of the array's elements, at most
/// `max_elements`. A text that isn't an array is its own only element. White space around an
/// element isn't part of it.
///
/// The check stops at the first element over the limit, so the memory depends on the limit, not on
/// the input.
///
/// ```
/// use headwater_wire::json;
///
/// let text = br#"[ {"a": [1, 2]} ,3]"#;
/// let elements = json::elements(text, 128, 1000)?;
/// let elements: Vec<&[u8]> = elements.into_iter().map(|range| &text[range]).collect();
/// assert_eq!(elements, [&br#"{"a": [1, 2]}"#[..], b"3"]);
/// # Ok::<(), json::CheckError>(())
/// ```
///
/// # Errors
///
/// The errors of [`check`], or if there are more than `max_elements` elements.
pub fn elements(
    bytes: &[u8],
    max_depth: usize,
    max_elements: usize,
) -> Result<Vec<Range<usize>>, CheckError> {
    let whole = trim(bytes);
    if bytes.get(whole.start) != Some(&b'[') {
        check(bytes, max_depth)?;
        return Ok(vec![whole]);
    }
    let mut found = Found {
        ranges: Vec::new(),
        limit: max_elements,
    };
    walk(bytes, max_depth, &mut found)?;
    Ok(found.ranges)
}

/// A receiver of the elements of the outermost array.
trait Elements {
    /// Adds the element that ends at `end` and starts after the previous one.
    fn element(&mut self, bytes: &[u8], end: usize) -> Step;
}

impl Elements for () {
    #[inline]
    fn element(&mut self, _: &[u8], _: usize) -> Step {
        Ok(())
    }
}

/// The ranges of elements, at most `limit`.
struct Found {
    ranges: Vec<Range<usize>>,
    limit: usize,
}

impl Elements for &mut Found {
    fn element(&mut self, bytes: &[u8], end: usize) -> Step {
        // After the comma that follows the previous element, or after the bracket that opens the
        // array.
        let before = match self.ranges.last() {
            Some(last) => last.end,
            None => 0,
        };
        let start = before
            + bytes[before..end]
                .iter()
                .position(|byte| !is_space(*byte))
                .unwrap_or(0)
            + 1;
        if self.ranges.len() == self.limit {
            return Err(CheckError {
                offset: start,
                fault: Fault::TooMany(self.limit),
            });
        }
        let element = trim(&bytes[start..end]);
        self.ranges.push(start + element.start..start + element.end);
        Ok(())
    }
}

fn walk(bytes: &[u8], max_depth: usize, elements: impl Elements) -> Result<(), CheckError> {
    work_counter::count(bytes.len());
    let grammar = Walk {
        bytes,
        at: 0,
        max_depth,
        elements,
    }
    .text();
    // The walk accepts all bytes from 0x80 on inside strings, so their encoding remains to be
    // checked.
    let walked = match &grammar {
        Ok(()) => bytes,
        Err(error) => &bytes[..error.offset],
    };
    if is_ascii(walked) {
        return grammar;
    }
    match std::str::from_utf8(walked) {
        Ok(_) => grammar,
        // More input can complete a character that is only cut by the end.
        Err(error) if error.error_len().is_none() && walked.len() == bytes.len() => grammar,
        Err(error) => Err(CheckError {
            offset: error.valid_up_to(),
            fault: Fault::Utf8,
        }),
    }
}

struct Walk<'a, E> {
    bytes: &'a [u8],
    at: usize,
    max_depth: usize,
    elements: E,
}

type Step = Result<(), CheckError>;

const VALUE: &str = "expected a value";

impl<E: Elements> Walk<'_, E> {
    fn text(&mut self) -> Step {
        let mut open = Brackets::default();
        loop {
            match self.token() {
                Some(b'{') => {
                    self.open(&mut open, Bracket::Brace)?;
                    if self.token() == Some(b'}') {
                        self.at += 1;
                        open.pop();
                    } else {
                        self.name("expected a name or \"}\"")?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.open(&mut open, Bracket::Square)?;
                    if self.token() == Some(b']') {
                        self.at += 1;
                        open.pop();
                    } else {
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                _ => return self.expected(VALUE),
            }
            if self.closed(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Continues after a value: past closing brackets, to the next value or the end of the text.
    #[inline]
    fn closed(&mut self, open: &mut Brackets) -> Result<bool, CheckError> {
        loop {
            let token = self.token();
            match (open.last(), token) {
                (None, None) => return Ok(true),
                (None, Some(_)) => self.expected("expected the end")?,
                (Some(Bracket::Brace), Some(b'}')) | (Some(Bracket::Square), Some(b']')) => {
                    if open.depth() == 1 {
                        self.elements.element(self.bytes, self.at)?;
                    }
                    self.at += 1;
                    open.pop();
                }
                (Some(Bracket::Brace), Some(b',')) => {
                    self.at += 1;
                    self.name("expected a name")?;
                    return Ok(false);
                }
                (Some(Bracket::Square), Some(b',')) => {
                    if open.depth() == 1 {
                        self.elements.element(self.bytes, self.at)?;
                    }
                    self.at += 1;
                    return Ok(false);
                }
                (Some(Bracket::Brace), _) => self.expected("expected \",\" or \"}\"")?,
                (Some(Bracket::Square), _) => self.expected("expected \",\" or \"]\"")?,
            }
        }
    }

    fn expected(&self, what: &'static str) -> Step {
        let fault = if self.at == self.bytes.len() {
            Fault::End(what)
        } else {
            Fault::Expected(what)
        };
        Err(CheckError {
            offset: self.at,
            fault,
        })
    }

    /// Returns the first byte of the next token without reading it.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn open(&mut self, open: &mut Brackets, bracket: Bracket) -> Step {
        if open.depth() == self.max_depth {
            return Err(CheckError {
                offset: self.at,
                fault: Fault::TooDeep(self.max_depth),
            });
        }
        self.at += 1;
        open.push(bracket);
        Ok(())
    }

    /// Reads a name and the colon after it.
    #[inline]
    fn name(&mut self, expected: &'static str) -> Step {
        if self.token() != Some(b'"') {
            return self.expected(expected);
        }
        self.string()?;
        if self.token() != Some(b':') {
            return self.expected("expected \":\"");
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn string(&mut self) -> Step {
        self.at += 1;
        loop {
            self.at += until_special(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.expected("expected no control character in a string"),
                None => return self.expected("expected the end of a string"),
            }
        }
    }

    fn escape(&mut self) -> Step {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.bytes.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return self.expected("expected four hexadecimal digits");
                    }
                    self.at += 1;
                }
                Ok(())
            }
            _ => self.expected("expected an escape: one of \"\\/bfnrtu"),
        }
    }

    #[inline]
    fn number(&mut self) -> Step {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Reads one or more digits.
    #[inline]
    fn digits(&mut self) -> Step {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start {
            self.expected("expected a digit")
        } else {
            Ok(())
        }
    }

    fn literal(&mut self, literal: &'static [u8]) -> Step {
        for byte in literal {
            if self.bytes.get(self.at) != Some(byte) {
                return self.expected("expected true, false or null");
            }
            self.at += 1;
        }
        Ok(())
    }
}
