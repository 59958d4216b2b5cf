//! Lines of a request body, as they arrive.

use bytes::{Buf, Bytes, BytesMut};
use headwater_wire::json::without_bom;
use memchr::memchr;

use crate::error::Failure;

/// Splits bytes with any chunk boundaries into lines.
pub(crate) struct Lines {
    bytes: BytesMut,
    /// Number of bytes at the start that contain no end of a line.
    searched: usize,
    ended: bool,
    /// `true` if the start is known not to be a byte order mark, or the mark was removed.
    begun: bool,
    /// The number of the last line that was returned, from 1.
    number: u64,
    limit: usize,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            searched: 0,
            ended: false,
            begun: false,
            number: 0,
            limit,
        }
    }

    pub(crate) fn push(&mut self, piece: &[u8], is_end: bool) {
        self.bytes.extend_from_slice(piece);
        self.ended = is_end;
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the number of the last line that was returned, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Skips a byte order mark at the start. Returns `false` while it isn't known if there is one.
    fn begin(&mut self) -> bool {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        if !self.begun
            && (self.bytes.starts_with(BOM) || self.ended || !BOM.starts_with(&self.bytes))
        {
            let rest = without_bom(&self.bytes).len();
            self.bytes.advance(self.bytes.len() - rest);
            self.begun = true;
        }
        self.begun
    }

    /// Returns the next line that is complete and not blank.
    pub(crate) fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        if !self.begin() {
            return None;
        }
        loop {
            let end = memchr(b'\n', &self.bytes[self.searched..]).map(|at| self.searched + at);
            let is_too_long = end.unwrap_or(self.bytes.len()) > self.limit;
            if is_too_long {
                self.number += 1;
                return Some(Err(Failure::too_large("a line", self.limit)));
            }
            let line = match end {
                Some(end) => {
                    let line = self.bytes.split_to(end).freeze();
                    self.bytes.advance(1);
                    line
                }
                None if self.ended && !self.bytes.is_empty() => self.bytes.split().freeze(),
                None => {
                    self.searched = self.bytes.len();
                    return None;
                }
            };
            self.searched = 0;
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                return Some(Ok(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_chunking_leads_to_the_same_lines() {
        let plain = "1\n\n 22\r\n333\n4";
        for text in [plain, &format!("\u{feff}{plain}")] {
            for size in 1..=text.len() {
                let mut lines = Lines::new(100);
                let mut found = Vec::new();
                let mut take = |lines: &mut Lines| {
                    while let Some(line) = lines.next() {
                        let Ok(line) = line else {
                            panic!("a line was refused")
                        };
                        found.push((lines.number, line.trim_ascii().to_vec()));
                    }
                };
                for piece in text.as_bytes().chunks(size) {
                    lines.push(piece, false);
                    take(&mut lines);
                }
                lines.push(&[], true);
                take(&mut lines);
                let expected: Vec<(u64, Vec<u8>)> = [(1, "1"), (3, "22"), (4, "333"), (5, "4")]
                    .map(|(n, text)| (n, text.into()))
                    .into();
                assert_eq!(found, expected, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_incomplete_byte_order_mark_belongs_to_the_line() {
        for text in [&b"\xef"[..], b"\xef\xbb", b"\xef\xbb1\n", b" \xef\xbb\xbf"] {
            let mut lines = Lines::new(100);
            for byte in text {
                lines.push(&[*byte], false);
                assert!(lines.next().is_none() || *byte == b'\n');
            }
            let mut lines = Lines::new(100);
            lines.push(text, true);
            let Some(Ok(line)) = lines.next() else {
                panic!("no line")
            };
            assert_eq!(line, text.strip_suffix(b"\n").unwrap_or(text));
        }
    }

    #[test]
    fn a_line_is_as_long_as_the_limit_and_no_longer() {
        for (text, is_ok) in [("1234\n", true), ("12345\n", false), ("12345", false)] {
            let mut lines = Lines::new(4);
            lines.push(text.as_bytes(), false);
            assert_eq!(
                lines.next().is_some_and(|line| line.is_ok()),
                is_ok,
                "{text:?}"
            );
        }
    }
}
