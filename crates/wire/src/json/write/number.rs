//! Numbers.

use serde::ser::Error as _;
use serde_json::Error;

use super::{place, text::store};

/// Appends an integer.
#[inline]
pub(super) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a finite float: the shortest digits that read back as the same number, laid out as
/// `serde_json` does, since it has them from the same crate.
#[inline]
pub(super) fn float(value: impl zmij::Float, out: &mut Vec<u8>) {
    // Across a border of cache lines, reading what was just written takes 14 ns instead of none.
    #[repr(align(32))]
    struct Aligned(zmij::Buffer);

    let mut buffer = Aligned(zmij::Buffer::new());
    out.extend_from_slice(buffer.0.format_finite(value).as_bytes());
}

/// As [`float`], with a shorter way for prices, percentages and whole numbers.
#[inline]
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    match ten_thousandths(value.abs()) {
        Some(count) => decimal(value.is_sign_negative(), count, out),
        None => float(value, out),
    }
}

/// What is left in the output of a float that isn't finite, and what its error says until it is named.
const NOT_FINITE: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// Refuses a float that isn't finite. It is left in the output, for [`name_not_finite`].
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

/// Says which value `error` is about and where it stands, if it is a float that isn't finite.
#[cold]
pub(super) fn name_not_finite(error: Error, written: &[u8]) -> Error {
    let message = error.to_string();
    let Some(name) = NOT_FINITE
        .into_iter()
        .find(|name| message == **name && written.ends_with(name.as_bytes()))
    else {
        return error;
    };
    let place = place::at_end_of(&written[..written.len() - name.len()]);
    Error::custom(format_args!(
        "{name} at {place:?}: JSON has only finite numbers (RFC 8259 §6)"
    ))
}

/// How many ten-thousandths `size` is, if that many, rounded to a float, are `size` and are less
/// than 10¹².
///
/// Then no other decimal number of up to 15 digits rounds to `size`, so these are its shortest digits,
/// once the zeros at their end are gone.
#[inline]
fn ten_thousandths(size: f64) -> Option<u64> {
    // From here to its double, floats are the whole numbers, and their low bits count them.
    const WHOLE: f64 = (1_u64 << 52) as f64;
    if size < 1e8 {
        let rounded = size * 1e4 + WHOLE;
        // Both sides of the division are exact, so it is what the decimal number rounds to.
        if (rounded - WHOLE) / 1e4 == size {
            return Some(rounded.to_bits() - WHOLE.to_bits());
        }
    }
    None
}

/// Appends so many ten-thousandths, with at least one digit after the point.
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

/// Makes eight digits ASCII.
const ASCII: u64 = u64::from_le_bytes([b'0'; 8]);

/// The digits of a number below 10⁸, one a byte, the first in the lowest.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let high = number / 10_000;
    two_digits_each(hundreds(high | (number - high * 10_000) << 32))
}

/// The digits of a number below 10⁴, one a byte, the first in the lowest.
#[inline]
fn four_digits(number: u64) -> u64 {
    two_digits_each(hundreds(number))
}

/// Parts the numbers below 10⁴ in the halves of `word` into numbers below 100 in its quarters.
#[inline]
fn hundreds(word: u64) -> u64 {
    // A hundredth is 10 486 / 2²⁰, close enough below 10⁴; the mask cuts off the other half's excess.
    let high = ((word * 10_486) >> 20) & 0x7f_0000_007f;
    high | (word - high * 100) << 16
}

/// Parts the numbers below 100 in the quarters of `word` into its bytes.
#[inline]
fn two_digits_each(word: u64) -> u64 {
    // A tenth is 103 / 2¹⁰, close enough below 100.
    let high = ((word * 103) >> 10) & 0x000f_000f_000f_000f;
    high | (word - high * 10) << 8
}
