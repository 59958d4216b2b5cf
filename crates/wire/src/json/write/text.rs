//! Strings (RFC 8259 §7).
//!
//! The search for bytes that need an escape examines 8 or 16 bytes at a time. Short pieces are
//! assembled in a register and stored as 8 bytes, and the excess is truncated again. That is faster
//! than a copy of a length that isn't known at compile time.
//!
//! The characters that [`separators`] escapes have more than one byte. A string with a byte that
//! can start one is searched a second time.

use crate::json::separators;

const WORD: usize = 8;
const BLOCK: usize = 16;

/// Appends `text` between quotes.
#[inline]
pub(super) fn quoted(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let len = bytes.len();
    if len <= WORD - 2 {
        let word = load(bytes);
        if is_plain_word(word | beyond(len)) {
            store(word << 8 | quote(0) | quote(len + 1), len + 2, out);
            return;
        }
    }
    quoted_long(bytes, out);
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

/// Appends `lead`, which is one byte, then `key` between quotes, then a colon.
// If the key is a constant, as in a struct, inlining compiles all this to one store of a constant.
// Without optimisation it would only enlarge the stack frames, which add up in a recursion.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(super) fn member(lead: u8, key: &'static str, out: &mut Vec<u8>) {
    match framed(lead, key.as_bytes()) {
        Some(framed) => {
            let end = out.len() + key.len() + 4;
            out.extend_from_slice(&framed.to_le_bytes());
            out.truncate(end);
        }
        None => {
            out.push(lead);
            quoted(key, out);
            out.push(b':');
        }
    }
}

/// Returns the output of [`member`], if the key is short and needs no escapes.
#[cfg_attr(not(debug_assertions), inline(always))]
fn framed(lead: u8, key: &[u8]) -> Option<u128> {
    let len = key.len();
    if len > BLOCK - 4 {
        return None;
    }
    let (start, end) = key.split_at(len.min(WORD));
    let (low, high) = (load(start), load(end));
    if !is_plain_word(low | beyond(start.len())) || !is_plain_word(high | beyond(end.len())) {
        return None;
    }
    let key = u128::from(low) | u128::from(high) << (8 * WORD);
    let before = u16::from_le_bytes([lead, b'"']);
    let after = u16::from_le_bytes(*b"\":");
    Some(u128::from(before) | key << 16 | u128::from(after) << (8 * (len + 2)))
}

#[inline]
fn escaped_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let end = out.len() + bytes.len();
    let start = out.len();
    let mut rest = bytes;
    let mut all_plain = true;
    let mut has_lead = false;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        if is_plain(block) {
            out.extend_from_slice(block);
        } else {
            all_plain = false;
            has_lead |= escaped_one_by_one(block, out);
        }
        rest = after;
    }
    // If nothing was escaped, the end is also written as a whole block or word, which overlaps
    // bytes that are written already.
    match (
        bytes.last_chunk::<BLOCK>(),
        bytes.first_chunk(),
        bytes.last_chunk::<WORD>(),
    ) {
        (Some(last), _, _) if all_plain && is_plain(last) => {
            out.truncate(end - BLOCK);
            out.extend_from_slice(last);
        }
        (None, Some(first), Some(last))
            if is_plain_word(u64::from_le_bytes(*first))
                && is_plain_word(u64::from_le_bytes(*last)) =>
        {
            out.extend_from_slice(first);
            out.truncate(end - WORD);
            out.extend_from_slice(last);
        }
        _ => has_lead |= escaped_one_by_one(rest, out),
    }
    if has_lead {
        separators::escape_from(out, start);
    }
}

/// Appends `bytes`, at most 16, escaped. More escapes often follow an escape, so this doesn't
/// search for them but does the same for every byte. Returns `true` if one of the bytes can start a
/// separator.
#[inline]
fn escaped_one_by_one(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut leads = 0;
    let mut end = out.len();
    out.extend_from_slice(&[0; BLOCK * LONGEST + WORD]);
    for byte in bytes {
        let piece = PIECES[usize::from(*byte)];
        out[end..end + WORD].copy_from_slice(&piece);
        end += usize::from(piece[WORD - 1]);
        leads |= piece[WORD - 2];
    }
    out.truncate(end);
    leads != 0
}

/// Appends the first `len` bytes of `word`, at most 8.
#[inline]
pub(super) fn store(word: u64, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// Returns `bytes`, at most 8, as a word that is filled up with 0.
#[inline]
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

/// Returns a quote as the byte `at` of a word.
#[inline]
fn quote(at: usize) -> u64 {
    u64::from(b'"') << (8 * at)
}

/// Returns a mask of all bits of the bytes from `len` on, which is at most 8.
#[inline]
fn beyond(len: usize) -> u64 {
    if len < WORD { !0 << (8 * len) } else { 0 }
}

/// Returns `true` if no byte needs an escape (is below 0x20, a quote or a backslash) or can start a
/// separator.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const fn each(byte: u8) -> u64 {
        u64::from_le_bytes([byte; WORD])
    }
    // Without its highest bit, a byte can be added to without a carry into the next one. The sums
    // have that bit set if the byte isn't the one that is searched for.
    let low = word & each(0x7f);
    let no_control = low + each(0x80 - 0x20);
    let no_quote = (low ^ each(b'"')) + each(0x7f);
    let no_backslash = (low ^ each(b'\\')) + each(0x7f);
    // 0xc2 and 0xe2 differ in the bit that is masked out here.
    let no_lead = ((low & each(0x5f)) ^ each(0xc2 & 0x5f)) + each(0x7f);
    (word | no_control & no_quote & no_backslash) & (!word | no_lead) & each(0x80) == each(0x80)
}

/// Checks like [`is_plain_word`], for as many bytes as a vector register has on every platform.
#[inline]
fn is_plain(block: &[u8; BLOCK]) -> bool {
    // In this simple form, the compiler generates vector instructions.
    !block.iter().fold(false, |found, byte| {
        found | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\') | separators::is_lead(*byte)
    })
}

/// Length of the longest escape, such as `\u001f`.
const LONGEST: usize = 6;

/// The output for each byte of a string. The last byte of the piece is its length, and the one
/// before it is nonzero if the byte can start a separator.
static PIECES: [[u8; WORD]; 256] = pieces();

const fn pieces() -> [[u8; WORD]; 256] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    const SHORT: &[u8] = b"\x08b\tt\nn\x0cf\rr\"\"\\\\";
    let mut pieces = [[0, 0, 0, 0, 0, 0, 0, 1]; 256];
    let mut byte = 0;
    while byte < 0x20 {
        let [high, low] = [HEX[byte >> 4], HEX[byte & 15]];
        pieces[byte] = [b'\\', b'u', b'0', b'0', high, low, 0, 6];
        byte += 1;
    }
    let mut plain = 0xff;
    while plain >= 0x20 {
        pieces[plain as usize][0] = plain;
        pieces[plain as usize][WORD - 2] = separators::is_lead(plain) as u8;
        plain -= 1;
    }
    let mut at = 0;
    while at < SHORT.len() {
        pieces[SHORT[at] as usize] = [b'\\', SHORT[at + 1], 0, 0, 0, 0, 0, 2];
        at += 2;
    }
    pieces
}
