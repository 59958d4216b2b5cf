use std::{fmt, ops::Deref, str::Utf8Error};

use bytes::Bytes;

use crate::work_counter;

/// A string with shared memory: [`Bytes`] that are valid UTF-8. Cloning and slicing don't copy.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str(Bytes);

impl Str {
    /// Creates a string from static memory.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Checks that `bytes` is UTF-8.
    ///
    /// # Errors
    ///
    /// If it isn't, with the location, as [`std::str::from_utf8`].
    #[inline]
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Utf8Error> {
        if !is_ascii(&bytes) {
            std::str::from_utf8(&bytes)?;
        }
        Ok(Self(bytes))
    }

    /// Decodes `bytes`, with U+FFFD in place of invalid UTF-8. It copies only in that case.
    #[inline]
    #[must_use]
    pub fn from_utf8_lossy(bytes: Bytes) -> Self {
        if is_ascii(&bytes) || std::str::from_utf8(&bytes).is_ok() {
            return Self(bytes);
        }
        // Of the exact size: the text can be three times as long as the bytes.
        let parts = || {
            bytes.utf8_chunks().flat_map(|part| {
                let is_valid = part.invalid().is_empty();
                [part.valid(), if is_valid { "" } else { "\u{FFFD}" }]
            })
        };
        let mut text = String::with_capacity(parts().map(str::len).sum());
        text.extend(parts());
        text.into()
    }

    /// Returns the longest valid prefix of `bytes`, and the error after it.
    pub(crate) fn valid_prefix(bytes: &Bytes) -> (Self, Result<(), Utf8Error>) {
        match std::str::from_utf8(bytes) {
            Ok(_) => (Self(bytes.clone()), Ok(())),
            Err(error) => (Self(bytes.slice(..error.valid_up_to())), Err(error)),
        }
    }

    /// Returns the string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        debug_assert!(std::str::from_utf8(&self.0).is_ok());
        #[allow(
            unsafe_code,
            reason = "checking again on each access would make reading quadratic"
        )]
        // SAFETY: every constructor checks that the bytes are UTF-8, and nothing changes them.
        unsafe {
            std::str::from_utf8_unchecked(&self.0)
        }
    }

    /// Returns the bytes of the string, shared.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<Str> for String {
    fn from(text: Str) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

/// Returns `true` if all of `bytes` is ASCII, and therefore UTF-8. Most text is ASCII, and this
/// check is several times faster than one for UTF-8. On short text it is also faster than
/// `<[u8]>::is_ascii`, because it has no loop over single bytes.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    work_counter::count(bytes.len());
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(u8::is_ascii);
    };
    let (words, _) = bytes.as_chunks::<8>();
    let any = words.iter().fold(u64::from_ne_bytes(*last), |any, word| {
        any | u64::from_ne_bytes(*word)
    });
    any & 0x8080_8080_8080_8080 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_utf8_is_not_copied() {
        let bytes = Bytes::from_static("grüße".as_bytes());
        let text = Str::from_utf8_lossy(bytes.clone());
        assert_eq!(text.as_ptr(), bytes.as_ptr());
        assert_eq!(text, "grüße");
    }

    #[test]
    fn text_that_is_not_utf8_is_an_error_or_replaced() {
        let bytes = Bytes::from_static(b"a\xffb");
        assert_eq!(Str::from_utf8(bytes.clone()).unwrap_err().valid_up_to(), 1);
        assert_eq!(Str::from_utf8_lossy(bytes), "a\u{fffd}b");
    }

    #[test]
    fn a_byte_that_is_not_ascii_is_found_at_any_position() {
        for len in 0..40 {
            let mut bytes = vec![b'a'; len];
            assert!(is_ascii(&bytes));
            for at in 0..len {
                bytes[at] = 0x80;
                assert!(!is_ascii(&bytes), "{at} of {len}");
                bytes[at] = b'a';
            }
        }
    }
}
