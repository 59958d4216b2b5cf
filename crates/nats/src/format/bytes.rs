//! Numbers and texts in the bytes of a batch.

use bytes::{Buf, Bytes};
use headwater_log::machine::Cursor;
pub(crate) use headwater_log::machine::{put_bytes, put_number};

/// A batch that can't be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a field of it ends early or is out of range")]
    Field,
    #[error("it has an operation of the kind {0}, which this version doesn't know")]
    Kind(u8),
}

/// A reader of the bytes of a batch.
pub(crate) struct Reader {
    bytes: Bytes,
    length: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        let length = bytes.len();
        Self { bytes, length }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the number of bytes that were read.
    pub(crate) fn at(&self) -> usize {
        self.length - self.bytes.len()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.first().ok_or(Malformed::Field)?;
        self.bytes.advance(1);
        Ok(byte)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.as_ref().try_into().map_err(|_| Malformed::Field)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut from = Cursor(&self.bytes);
        let number = from.number().map_err(|_| Malformed::Field)?;
        let left = from.0.len();
        self.bytes.advance(self.bytes.len() - left);
        Ok(number)
    }

    pub(crate) fn size(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed::Field)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, Malformed> {
        match length <= self.bytes.len() {
            true => Ok(self.bytes.split_to(length)),
            false => Err(Malformed::Field),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.size()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.into()).map_err(|_| Malformed::Field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_bytes_round_trip(numbers: Vec<u64>, texts: Vec<String>) {
            let mut out = Vec::new();
            numbers.iter().for_each(|number| put_number(&mut out, *number));
            texts.iter().for_each(|text| put_bytes(&mut out, text.as_bytes()));
            let mut reader = Reader::new(out.into());
            for number in numbers {
                prop_assert_eq!(reader.number(), Ok(number));
            }
            for text in texts {
                prop_assert_eq!(reader.text(), Ok(text));
            }
            prop_assert!(reader.is_empty());
            prop_assert_eq!(reader.number(), Err(Malformed::Field));
        }
    }

    #[test]
    fn a_number_over_64_bits_is_refused() {
        let mut reader = Reader::new(vec![0xff; 11].into());
        assert_eq!(reader.number(), Err(Malformed::Field));
        let mut most = Vec::new();
        put_number(&mut most, u64::MAX);
        *most.last_mut().unwrap() = 2;
        assert_eq!(Reader::new(most.into()).number(), Err(Malformed::Field));
    }
}
