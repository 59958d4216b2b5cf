//! Strings (RFC 8259 §7).
//!
//! Short pieces are put together in a register and stored as 8 bytes, of which the excess is cut off
//! again: that costs less than a copy of a length that isn't known beforehand.

const WORD: usize = 8;
const BLOCK: usize = 16;

/// Appends `text` between quotes.
#[inline]
pub(super) fn quoted(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if bytes.len() <= WORD - 2 {
        let word = load(bytes);
        if marks(word | beyond(bytes.len())) == 0 {
            store(
                word << 8 | quote(0) | quote(bytes.len() + 1),
                bytes.len() + 2,
                out,
            );
            return;
        }
    }
    quoted_long(bytes, out);
}

/// Appends `lead`, which is one byte, then `key` between quotes, then a colon.
// Where the key is a constant, all of it becomes a store or two of constants; that takes inlining.
#[inline(always)]
pub(super) fn member(lead: u8, key: &'static str, out: &mut Vec<u8>) {
    let bytes = key.as_bytes();
    if let Some(frame) = frame(lead, bytes) {
        let start = out.len();
        out.extend_from_slice(&frame.to_le_bytes());
        out.truncate(start + bytes.len() + 4);
        return;
    }
    out.push(lead);
    quoted(key, out);
    out.push(b':');
}

#[inline(always)]
fn frame(lead: u8, key: &[u8]) -> Option<u128> {
    if key.len() > 12 {
        return None;
    }
    let (low, high) = key.split_at(key.len().min(WORD));
    let (low, high) = (load(low), load(high));
    if marks(low | beyond(key.len().min(WORD))) != 0 || marks(high | beyond(key.len().saturating_sub(WORD))) != 0 {
        return None;
    }
    let word = u128::from(low) | u128::from(high) << 64;
    let quotes = u128::from(b'"') << 8 | u128::from(u16::from_le_bytes(*b"\":")) << (16 + 8 * key.len());
    Some(u128::from(lead) | word << 16 | quotes)
}

/// Appends `piece`, which needs no escapes.
#[inline]
pub(super) fn ascii(piece: &[u8], out: &mut Vec<u8>) {
    if let (Some(first), Some(last)) = (piece.first_chunk::<16>(), piece.last_chunk::<16>()) {
        let start = out.len();
        out.extend_from_slice(first);
        out.truncate(start + piece.len() - 16);
        out.extend_from_slice(last);
    } else if let (Some(first), Some(last)) = (piece.first_chunk::<8>(), piece.last_chunk::<8>()) {
        let start = out.len();
        out.extend_from_slice(first);
        out.truncate(start + piece.len() - 8);
        out.extend_from_slice(last);
    } else {
        store(load(piece), piece.len(), out);
    }
}

fn quoted_long(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2 + BLOCK);
    out.push(b'"');
    escaped_bytes(bytes, out);
    out.push(b'"');
}

/// Appends `text` without quotes around it.
pub(super) fn escaped(text: &str, out: &mut Vec<u8>) {
    escaped_bytes(text.as_bytes(), out);
}

#[inline]
fn escaped_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = bytes;
    if let Some(last) = bytes.last_chunk::<BLOCK>() {
        while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
            if !is_plain(block) {
                return escaped_words(rest, out);
            }
            out.extend_from_slice(block);
            rest = after;
        }
        if is_plain(last) {
            out.truncate(start + bytes.len() - BLOCK);
            out.extend_from_slice(last);
            return;
        }
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<WORD>(), bytes.last_chunk::<WORD>()) {
        if marks(u64::from_le_bytes(*first)) | marks(u64::from_le_bytes(*last)) == 0 {
            out.extend_from_slice(first);
            out.truncate(start + bytes.len() - WORD);
            out.extend_from_slice(last);
            return;
        }
    }
    escaped_words(rest, out);
}

fn escaped_words(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((block, rest)) = bytes.split_first_chunk::<BLOCK>() {
        if is_plain(block) {
            out.extend_from_slice(block);
        } else {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *block;
            escape(u64::from_le_bytes([a, b, c, d, e, f, g, h]), WORD, out);
            escape(u64::from_le_bytes([i, j, k, l, m, n, o, p]), WORD, out);
        }
        bytes = rest;
    }
    if let Some((word, rest)) = bytes.split_first_chunk::<WORD>() {
        escape(u64::from_le_bytes(*word), WORD, out);
        bytes = rest;
    }
    escape(load(bytes), bytes.len(), out);
}

/// Appends the first `len` bytes of `word`, escaped.
#[inline]
fn escape(mut word: u64, mut len: usize, out: &mut Vec<u8>) {
    let mut marks = marks(word | beyond(len));
    while marks != 0 {
        let at = marks.trailing_zeros() / 8;
        store(word, at as usize, out);
        word >>= 8 * at;
        let [byte, ..] = word.to_le_bytes();
        let escape = ESCAPES[usize::from(byte)];
        let start = out.len();
        out.extend_from_slice(&escape);
        out.truncate(start + usize::from(escape[7]));
        word >>= 8;
        marks = marks >> (8 * at) >> 8;
        len -= at as usize + 1;
    }
    store(word, len, out);
}

/// Appends the first `len` bytes of `word`, which are no more than 8.
#[inline]
pub(super) fn store(word: u64, len: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(start + len);
}

/// `bytes`, which are no more than 8, as a word whose further bytes are 0.
#[inline(always)]
fn load(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first))
            | u64::from(u32::from_le_bytes(*last)) << (8 * (len - 4))
    } else if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
        let middle = len / 2;
        u64::from(*first)
            | u64::from(bytes[middle]) << (8 * middle)
            | u64::from(*last) << (8 * (len - 1))
    } else {
        0
    }
}

/// A quote as the byte `at` of a word.
#[inline]
fn quote(at: usize) -> u64 {
    u64::from(b'"') << (8 * at)
}

/// All bits of the bytes from `len` on, which is no more than 8.
#[inline]
fn beyond(len: usize) -> u64 {
    if len < WORD { !0 << (8 * len) } else { 0 }
}

/// The highest bit of every byte that needs an escape: below 0x20, a quote or a backslash.
#[inline]
fn marks(word: u64) -> u64 {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; WORD])
    }
    // Without their highest bits, bytes can be added to without a carry into the next one.
    let low = word & each(0x7f);
    let no_control = low + each(0x80 - 0x20);
    let no_quote = (low ^ each(b'"')) + each(0x7f);
    let no_backslash = (low ^ each(b'\\')) + each(0x7f);
    !(word | no_control & no_quote & no_backslash) & each(0x80)
}

/// Whether none of these bytes needs an escape.
#[inline]
fn is_plain(block: &[u8; BLOCK]) -> bool {
    // As plain as this, the compiler makes vector instructions of it.
    !block
        .iter()
        .fold(false, |found, byte| found | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\'))
}

/// What is written for each byte that needs an escape; the last byte is the length.
static ESCAPES: [[u8; 8]; 256] = escape_table();

const fn escape_table() -> [[u8; 8]; 256] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = [b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15], 0, 6];
        byte += 1;
    }
    let short = b"\x08b\tt\nn\x0cf\rr\"\"\\\\";
    let mut at = 0;
    while at < short.len() {
        table[short[at] as usize] = [b'\\', short[at + 1], 0, 0, 0, 0, 0, 2];
        at += 2;
    }
    table
}
