//! Numbers, strings and bytes.

use serde::{Serialize, Serializer};

use super::check;

#[test]
fn extreme_numbers_are_written_as_serde_json_writes_them() {
    check(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
    check(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN));
    check(&(i8::MAX, i16::MAX, i32::MAX, i64::MAX, i128::MAX, isize::MAX));
    let floats = [
        f32::MIN,
        f32::MAX,
        f32::MIN_POSITIVE,
        f32::EPSILON,
        f32::from_bits(1),
        -0.0,
        0.1,
        16_777_216.0,
        1e-7,
        3.3e10,
    ];
    check(&floats);
    check(&floats.map(f64::from));
    check(&[
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::EPSILON,
        f64::from_bits(1),
        0.1,
    ]);
}

#[test]
fn decimal_numbers_and_their_neighbours_have_the_digits_of_serde_json() {
    let mut floats = vec![
        0.0,
        -0.0,
        1e8,
        99_999_999.999_9,
        0.000_1,
        0.000_05,
        0.5,
        1e15,
        1e16,
    ];
    for step in 0..2_000_u32 {
        let step = f64::from(step);
        floats.extend([
            step,
            step / 4.0,
            step / 10.0,
            step / 100.0,
            step / 1e3,
            step / 1e4,
        ]);
        floats.extend([
            step / 1e5,
            1e8 - step / 100.0,
            1e8 + step,
            43_210_987.0 + step / 1e4,
        ]);
    }
    for exponent in -20..60 {
        floats.extend([2_f64.powi(exponent), 10_f64.powi(exponent)]);
    }
    for float in floats {
        check(&[float, -float, float.next_up(), float.next_down()]);
    }
}

#[test]
fn every_byte_is_escaped_at_every_position_of_strings_of_any_length() {
    let specials: Vec<char> = ('\0'..=' ')
        .chain("\"\\/\u{7f}é\u{84}\u{85}\u{a0}\u{2028}\u{2029}\u{20a8}𝄞".chars())
        .collect();
    let plain = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
    for len in 0..=50 {
        check(&plain[..len]);
        for at in 0..=len {
            for special in &specials {
                check(&format!("{}{special}{}", &plain[..at], &plain[at..len]));
            }
        }
    }
    for special in &specials {
        check(special);
        check(&special.to_string().repeat(100));
    }
}

/// A value that is serialised as bytes, not as a sequence of numbers.
pub(super) struct Bytes(pub(super) &'static [u8]);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[test]
fn bytes_are_an_array_of_numbers() {
    check(&[Bytes(b""), Bytes(b"\x00\x7f\xff"), Bytes(b"1")]);
}
