//! The number of ends that are kept.
//!
//! ```text
//! n = a number as LEB128
//! ends   number that is kept n │ position after the newest dropped one n, or 0
//! ```

use super::bytes::{Malformed, decode_numbers, encode_numbers};

/// The count of kept ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) kept: u64,
    /// The position after the newest dropped end, or 0. All kept ends come after it.
    pub(crate) forgotten: u64,
}

impl Ends {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_numbers(&[self.kept, self.forgotten])
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let [kept, forgotten] = decode_numbers(value)?;
        Ok(Self { kept, forgotten })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_number_of_kept_ends_round_trips(kept: u64, forgotten: u64) {
            let ends = Ends { kept, forgotten };
            prop_assert_eq!(Ends::decode(&ends.encode()), Ok(ends));
        }
    }
}
