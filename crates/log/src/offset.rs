use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind};

/// Number of digits of an offset's text.
pub(crate) const DIGITS: usize = 16;

/// Writes a number in decimal, padded with zeros on the left.
pub(crate) fn put_digits(number: u64, out: &mut [u8]) {
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
}

macro_rules! place {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// The text form is sixteen decimal digits, so texts sort in the order of the numbers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The first one.
            pub const START: Self = Self(0);
            /// The last one that has a text form. At ten million messages a second it is reached
            /// after 31 years.
            pub const MAX: Self = Self(9_999_999_999_999_999);

            /// Creates one from a number. Numbers past [`MAX`](Self::MAX) become `MAX`.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                if number > Self::MAX.0 { Self::MAX } else { Self(number) }
            }

            /// Returns the number: the count of what comes before.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [b'0'; DIGITS];
                put_digits(self.0, &mut digits);
                // Digits are valid UTF-8.
                f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl From<$name> for u64 {
            fn from(place: $name) -> Self {
                place.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// # Errors
            ///
            /// If `text` isn't exactly sixteen decimal digits ([`Error::is_invalid`]).
            fn from_str(text: &str) -> Result<Self, Error> {
                if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(Kind::Invalid($what).into());
                }
                match text.parse() {
                    Ok(number) => Ok(Self(number)),
                    Err(_) => Err(Kind::Invalid($what).into()),
                }
            }
        }
    };
}

place!(
    /// A place in one stream: before its first message, between two messages, or after the last.
    ///
    /// It counts messages, because a message is appended, checked and inherited by a fork as a
    /// whole. In a byte stream each append is a message, so every offset that a client received is
    /// such a place.
    Offset,
    "an offset is sixteen decimal digits"
);

place!(
    /// A place in the order of all messages of all streams and of their ends.
    ///
    /// Everything after position *p* was acknowledged after everything before *p*. Within one
    /// stream both orders agree.
    Position,
    "a position is sixteen decimal digits"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_offset_round_trips_as_text_and_sorts_like_it(
            a in 0..=Offset::MAX.number(), b in 0..=Offset::MAX.number()
        ) {
            let (a, b) = (Offset::new(a), Offset::new(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(a.to_string().parse::<Offset>().unwrap(), a);
        }
    }

    #[test]
    fn malformed_offsets_are_refused() {
        for bad in [
            "",
            "-1",
            "now",
            "1",
            "00000000000000001",
            "+000000000000001",
            "000000000000000x",
        ] {
            assert!(bad.parse::<Offset>().unwrap_err().is_invalid(), "{bad:?}");
        }
    }

    #[test]
    fn every_number_has_a_text_of_sixteen_digits() {
        assert_eq!(Offset::new(u64::MAX).to_string().len(), DIGITS);
    }
}
