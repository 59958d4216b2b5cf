use bytes::{Bytes, BytesMut};

use super::{CheckError, SkipBom, check, is_space, trim};
use crate::{Limits, Str};

/// A JSON text in pieces that is an array of items, or one item of any other type.
///
/// It detects an array, whose elements are for [`json_array::Decoder`](crate::json_array::Decoder),
/// and collects any other value. A byte order mark before the text is ignored.
/// [`Limits::max_item_bytes`] bounds the value, without the white space before it.
///
/// ```
/// use headwater_wire::{Limits, json::Document};
///
/// let mut document = Document::new(Limits::default());
/// assert_eq!(document.push("\n {\"a\"".into()), None);
/// assert_eq!(document.push(": 1}\n".into()), None);
/// document.finish();
/// assert_eq!(document.value()?.as_deref(), Some("{\"a\": 1}"));
///
/// let mut document = Document::new(Limits::default());
/// assert_eq!(document.push("\n [1,".into()).as_deref(), Some(&b"[1,"[..]));
/// # Ok::<(), headwater_wire::json::DocumentError>(())
/// ```
#[derive(Debug)]
pub struct Document {
    limits: Limits,
    bom: SkipBom,
    /// Number of bytes of white space before the value.
    offset: usize,
    text: BytesMut,
    is_too_large: bool,
    state: State,
}

#[derive(Debug, PartialEq)]
enum State {
    Open,
    Finished,
    /// The value was returned.
    Over,
}

/// The reason for which a [`Document`] has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The value is larger than its limit.
    #[error("the value is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The text is not JSON, or is nested too deep. The error's offset is relative to
    /// [`Document::offset`].
    #[error("{0}")]
    Invalid(CheckError),
}

impl Document {
    /// Creates a document of which nothing has arrived.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            bom: SkipBom::default(),
            offset: 0,
            text: BytesMut::new(),
            is_too_large: false,
            state: State::Open,
        }
    }

    /// Adds the next bytes of the text, cut anywhere. If they show that it is an array, returns them
    /// from its bracket on: they and all later bytes are for the decoder of the array.
    #[must_use]
    pub fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        let mut chunk = self.bom.piece(chunk);
        if self.text.is_empty() && !self.is_too_large {
            let start = chunk.iter().position(|byte| !is_space(*byte));
            self.offset += start.unwrap_or(chunk.len());
            chunk = chunk.split_off(start?);
            if chunk[0] == b'[' {
                return Some(chunk);
            }
        }
        self.is_too_large |= self.text.len() + chunk.len() > self.limits.max_item_bytes;
        if !self.is_too_large {
            self.text.extend_from_slice(&chunk);
        }
        None
    }

    /// Marks the end of the text.
    pub fn finish(&mut self) {
        if self.state == State::Open {
            self.state = State::Finished;
        }
    }

    /// Returns the number of bytes of white space before the value.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns `true` as long as only white space has arrived.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.text.is_empty() && !self.is_too_large && self.state != State::Over
    }

    /// Returns the value, once, without the white space around it. `None` means that more input is
    /// needed, or that the value was returned.
    ///
    /// # Errors
    ///
    /// If the value is too large, also before its end. If the complete text isn't JSON, or is nested
    /// too deep; later calls return `None`.
    pub fn value(&mut self) -> Result<Option<Str>, DocumentError> {
        if self.is_too_large {
            let limit = self.limits.max_item_bytes;
            return Err(DocumentError::TooLarge { limit });
        }
        if self.state != State::Finished {
            return Ok(None);
        }
        self.state = State::Over;
        let text = self.text.split().freeze();
        check(&text, self.limits.max_depth).map_err(DocumentError::Invalid)?;
        // `check` succeeded, so the text is UTF-8.
        Ok(Some(Str::from_utf8_lossy(text.slice(trim(&text)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes a text in pieces. Returns the bytes that belong to an array, or the value.
    fn read(
        text: &str,
        size: usize,
        limits: Limits,
    ) -> Result<(Vec<u8>, Option<Str>), DocumentError> {
        let mut document = Document::new(limits);
        let mut array: Option<Vec<u8>> = None;
        for piece in text.as_bytes().chunks(size) {
            match &mut array {
                Some(array) => array.extend_from_slice(piece),
                None => {
                    array = document.push(Bytes::copy_from_slice(piece)).map(Vec::from);
                }
            }
        }
        if let Some(array) = array {
            return Ok((array, None));
        }
        document.finish();
        let value = document.value()?;
        assert_eq!(document.value(), Ok(None));
        Ok((Vec::new(), value))
    }

    #[test]
    fn an_array_is_passed_on_from_its_bracket_and_another_value_is_collected() {
        for size in 1..9 {
            for blank in ["", "\u{feff}", " \r\n\t", "\u{feff} \n"] {
                let array = format!("{blank}[1, 2]");
                assert_eq!(
                    read(&array, size, Limits::default()),
                    Ok((b"[1, 2]".to_vec(), None)),
                    "{array:?}"
                );
                for value in ["{\"a\": [1]}", "\"[\"", "-1.5e3", "null"] {
                    let text = format!("{blank}{value} \n");
                    let (_, found) = read(&text, size, Limits::default()).expect("it is JSON");
                    assert_eq!(found.as_deref(), Some(value), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_value_may_have_as_many_bytes_as_the_limit_without_the_white_space_before_it() {
        let limits = Limits::default().with_max_item_bytes(4);
        for size in 1..9 {
            let (_, value) = read("      null", size, limits).expect("it fits");
            assert_eq!(value.as_deref(), Some("null"));
            let error = DocumentError::TooLarge { limit: 4 };
            assert_eq!(read(" false", size, limits), Err(error));
        }
    }

    #[test]
    fn an_error_counts_from_the_start_of_the_value() {
        let mut document = Document::new(Limits::default());
        assert!(document.is_blank());
        assert_eq!(document.push("\n\n".into()), None);
        assert!(document.is_blank());
        assert_eq!(document.push("  {\"a\" 1}".into()), None);
        assert!(!document.is_blank());
        document.finish();
        let Err(DocumentError::Invalid(error)) = document.value() else {
            panic!("a colon is missing");
        };
        assert_eq!((document.offset(), error.offset()), (4, 5));
    }

    #[test]
    fn an_empty_or_incomplete_text_is_an_error_at_its_end() {
        for text in ["", "  ", "{", "tru"] {
            let Err(DocumentError::Invalid(error)) = read(text, 1, Limits::default()) else {
                panic!("{text:?} isn't JSON");
            };
            assert!(error.is_end(), "{text:?}");
        }
    }
}
