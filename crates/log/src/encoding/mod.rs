//! The encodings of numbers and texts, of the values that several engines store, and the seal on values of
//! the engine on a disk.

pub(crate) mod birth;
pub(crate) mod ended;
pub(crate) mod producer;
pub(crate) mod restore;
pub(crate) mod state;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Number of bytes of the seal at the end of a value.
pub(crate) const SEAL: usize = 8;

/// Bytes that end early or have a value out of range. They weren't written so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes end early, or a value in them is out of range")]
pub struct Malformed;

/// Appends the checksum of key and value. Because it covers the key, a value under the wrong key is
/// detected too.
pub(crate) fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64_with_seed(&value, xxh3_64(key));
    value.extend_from_slice(&sum.to_be_bytes());
    value
}

/// Returns the value without its seal, if the seal is valid.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (body, sum) = value.split_last_chunk::<SEAL>().ok_or(Malformed)?;
    if xxh3_64_with_seed(body, xxh3_64(key)) == u64::from_be_bytes(*sum) {
        Ok(body)
    } else {
        Err(Malformed)
    }
}

/// Appends a number as LEB128: seven bits per byte, the low ones first.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Encodes a value that consists of numbers alone.
pub(crate) fn encode_numbers(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 * numbers.len());
    for number in numbers {
        put_number(&mut out, *number);
    }
    out
}

/// Decodes a value that consists of `N` numbers alone.
pub(crate) fn decode_numbers<const N: usize>(value: &[u8]) -> Result<[u64; N], Malformed> {
    let mut cursor = Cursor(value);
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = cursor.number()?;
    }
    cursor.end()?;
    Ok(numbers)
}

/// Appends a length, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A decoder that reads from the front of these bytes.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(pub &'a [u8]);

/// Every function fails if the bytes end early or the value is out of range.
#[allow(clippy::missing_errors_doc, reason = "the sentence above")]
impl<'a> Cursor<'a> {
    /// Reads a number of bytes.
    pub fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads a byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// Reads a number that [`put_number`] has written.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// Reads bytes that [`put_bytes`] has written.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    /// Reads bytes that are UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    /// Checks that nothing is left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip_without_a_rest(number: u64) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            let mut cursor = Cursor(&out);
            prop_assert_eq!(cursor.number(), Ok(number));
            prop_assert_eq!(cursor.end(), Ok(()));
        }

        #[test]
        fn any_flipped_bit_of_value_or_key_breaks_the_seal(
            key in prop::collection::vec(any::<u8>(), 1..40),
            value in prop::collection::vec(any::<u8>(), 0..400),
            bit in any::<prop::sample::Index>(),
        ) {
            let sealed = seal(&key, value.clone());
            prop_assert_eq!(unseal(&key, &sealed), Ok(&*value));
            let bit = bit.index((key.len() + sealed.len()) * 8);
            let (mut key, mut sealed) = (key, sealed);
            let in_key = key.len() * 8;
            if bit < in_key {
                key[bit / 8] ^= 1 << (bit % 8);
            } else {
                sealed[(bit - in_key) / 8] ^= 1 << (bit % 8);
            }
            prop_assert_eq!(unseal(&key, &sealed), Err(Malformed));
        }

        #[test]
        fn no_bytes_make_the_cursor_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut cursor = Cursor(&bytes);
            while cursor.number().is_ok() {}
            let _ = Cursor(&bytes).text();
        }
    }
}
