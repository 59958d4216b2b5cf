use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::limits;

/// A stream's name: 1 to [`limits::NAME_BYTES`] bytes of UTF-8 without control characters.
///
/// The log treats a name as one string. Callers can split it into segments at `/`. Names sort by
/// their bytes, which is the order of listings. A clone shares the text.
///
/// ```
/// use headwater_log::StreamName;
///
/// let name = StreamName::new("shop/orders")?;
/// assert_eq!(name.as_str(), "shop/orders");
/// assert!(StreamName::new("").unwrap_err().is_invalid());
/// # Ok::<(), headwater_log::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Checks `text` and creates a name of it.
    ///
    /// # Errors
    ///
    /// If it is empty or has a control character ([`Error::is_invalid`]), or is too long
    /// ([`Error::is_too_large`]).
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Kind::Invalid("a stream's name can't be empty").into());
        }
        if text.len() > limits::NAME_BYTES {
            return Err(Kind::TooLarge {
                what: "a stream's name",
                bytes: text.len() as u64,
                limit: limits::NAME_BYTES as u64,
            }
            .into());
        }
        if text.chars().any(char::is_control) {
            return Err(Kind::Invalid("a stream's name can't have control characters").into());
        }
        Ok(Self(text.into()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for StreamName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_maximum_length_is_accepted_and_one_byte_more_is_refused() {
        assert!(StreamName::new(&"n".repeat(limits::NAME_BYTES)).is_ok());
        let error = StreamName::new(&"n".repeat(limits::NAME_BYTES + 1)).unwrap_err();
        assert!(error.is_too_large(), "{error}");
    }

    #[test]
    fn an_empty_name_and_control_characters_are_refused() {
        for bad in ["", "a\nb", "\0", "a\u{7f}"] {
            assert!(StreamName::new(bad).unwrap_err().is_invalid(), "{bad:?}");
        }
        assert_eq!(
            StreamName::new("orders/žluťoučký kůň").unwrap().as_str(),
            "orders/žluťoučký kůň"
        );
    }
}
