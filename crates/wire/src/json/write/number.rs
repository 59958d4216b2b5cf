//! Numbers.

use serde::ser::Error as _;
use serde_json::Error;

use super::{pointer, text::store};

/// Appends an integer.
#[inline]
pub(super) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a finite float: the shortest digits that parse to the same number, formatted like
/// `serde_json`, which uses the same crate.
#[inline]
pub(super) fn float(value: impl zmij::Float, out: &mut Vec<u8>) {
    // Reading what was just written takes 14 ns across a border of cache lines, and no extra time
    // within one.
    #[repr(align(32))]
    struct Aligned(zmij::Buffer);

    let mut buffer = Aligned(zmij::Buffer::new());
    out.extend_from_slice(buffer.0.format_finite(value).as_bytes());
}

/// Appends a float like [`float`], with a faster path for prices, percentages and whole numbers.
#[inline]
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    match ten_thousandths(value.abs()) {
        Some(count) => decimal(value.is_sign_negative(), count, out),
        None => float(value, out),
    }
}

/// The text of a float that isn't finite, in the output and in its error until the location is
/// added.
const NOT_FINITE: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// Refuses a float that isn't finite. Its text stays in the output, for [`name_not_finite`].
#[cold]
pub(super) fn not_finite(value: f64, out: &mut Vec<u8>) -> Error {
    let [nan, low, high] = NOT_FINITE;
    let name = match value {
        value if value.is_nan() => nan,
        value if value < 0.0 => low,
        _ => high,
    };
    out.extend_from_slice(name.as_bytes());
    Error::custom(name)
}

/// Adds the value and its location to `error`, if it reports a float that isn't finite.
#[cold]
pub(super) fn name_not_finite(error: Error, written: &[u8]) -> Error {
    let message = error.to_string();
    let Some(name) = NOT_FINITE
        .into_iter()
        .find(|name| message == **name && written.ends_with(name.as_bytes()))
    else {
        return error;
    };
    let place = pointer::at_end_of(&written[..written.len() - name.len()]);
    Error::custom(format_args!(
        "{name} at {place:?}: JSON has only finite numbers (RFC 8259 §6)"
    ))
}

/// Returns `size` in ten-thousandths, if that count, rounded to a float, equals `size` and is less
/// than 10¹².
///
/// No other decimal number of up to 15 digits rounds to `size` then. These are therefore its
/// shortest digits, without the zeros at their end.
#[inline]
fn ten_thousandths(size: f64) -> Option<u64> {
    // Between this number and its double, floats are the whole numbers, and their low bits count
    // them.
    const WHOLE: f64 = (1_u64 << 52) as f64;
    if size < 1e8 {
        let rounded = size * 1e4 + WHOLE;
        // Both operands of the division are exact, so the result is the float nearest to the
        // decimal number.
        if (rounded - WHOLE) / 1e4 == size {
            return Some(rounded.to_bits() - WHOLE.to_bits());
        }
    }
    None
}

/// Appends a number of ten-thousandths, with at least one digit after the point.
fn decimal(negative: bool, ten_thousandths: u64, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    let whole = eight_digits(ten_thousandths / 10_000);
    let zeros = (whole | 1 << 56).trailing_zeros() / 8;
    store((whole | ASCII) >> (8 * zeros), 8 - zeros as usize, out);

    let rest = four_digits(ten_thousandths % 10_000);
    let used = (rest | 1).ilog2() as usize / 8 + 1;
    store((rest | ASCII) << 8 | u64::from(b'.'), 1 + used, out);
}

/// Added to eight digits, it makes them ASCII.
const ASCII: u64 = u64::from_le_bytes([b'0'; 8]);

/// Returns the digits of a number below 10⁸, one per byte, the first in the lowest.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let high = number / 10_000;
    two_digits_each(hundreds(high | (number - high * 10_000) << 32))
}

/// Returns the digits of a number below 10⁴, one per byte, the first in the lowest.
#[inline]
fn four_digits(number: u64) -> u64 {
    two_digits_each(hundreds(number))
}

/// Splits the numbers below 10⁴ in the halves of `word` into numbers below 100 in its quarters.
#[inline]
fn hundreds(word: u64) -> u64 {
    // 10 486 / 2²⁰ is close enough to a hundredth below 10⁴. The mask removes the overflow of the
    // other half.
    let high = ((word * 10_486) >> 20) & 0x7f_0000_007f;
    high | (word - high * 100) << 16
}

/// Splits the numbers below 100 in the quarters of `word` into its bytes.
#[inline]
fn two_digits_each(word: u64) -> u64 {
    // 103 / 2¹⁰ is close enough to a tenth below 100.
    let high = ((word * 103) >> 10) & 0x000f_000f_000f_000f;
    high | (word - high * 10) << 8
}
