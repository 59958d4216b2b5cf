//! Numbers.

use super::text;

/// Appends an integer.
#[inline]
pub(crate) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

#[inline]
fn leading(value: u64, out: &mut Vec<u8>) {
    let digits = eight(value);
    let skip = (digits | 1 << 56).trailing_zeros() / 8;
    text::store((digits | ZEROS) >> (8 * skip), 8 - skip as usize, out);
}

#[inline]
fn eight(value: u64) -> u64 {
    let high = value * 109_951_163 >> 40;
    let fours = high | (value - high * 10_000) << 32;
    let high = (fours * 10_486 >> 20) & 0x7f_0000_007f;
    let twos = high | (fours - high * 100) << 16;
    let high = (twos * 103 >> 10) & 0x000f_000f_000f_000f;
    high | (twos - high * 10) << 8
}

/// Appends a finite float: the shortest digits that read back as the same, laid out as `serde_json`
/// does, since it uses the same crate.
#[inline]
pub(super) fn float(value: f64, out: &mut Vec<u8>) {
    if !decimal(value, out) {
        any_float(value, out);
    }
}

pub(super) fn any_float(value: impl zmij::Float, out: &mut Vec<u8>) {
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
}

fn decimal(value: f64, out: &mut Vec<u8>) -> bool {
    let size = value.abs();
    if !(size < 1e8) { return false; }
    let scaled = size * 1e4;
    let units = (scaled + 0.5) as u64;
    let whole = units as f64;
    if (scaled - whole).abs() > 1e-3 || whole / 1e4 != size { return false; }
    if value.is_sign_negative() { out.push(b'-'); }
    let (int, frac) = (units / 10_000, units % 10_000);
    leading(int, out);
    let high = frac * 5243 >> 19;
    let twos = high | (frac - high * 100) << 16;
    let high = (twos * 103 >> 10) & 0x000f_000f;
    let digits = high | (twos - high * 10) << 8;
    let len = 1.max(8 - digits.leading_zeros() as usize / 8);
    text::store((digits | 0x3030_3030) << 8 | u64::from(b'.'), 1 + len, out);
    true
}
