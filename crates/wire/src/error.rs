use std::{error::Error, fmt};

use crate::Format;

/// An error in a stream of bytes, with its kind and location.
///
/// The decoder returns no more items after it, except for [`json_seq`](crate::json_seq), whose
/// standard defines how to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    pub(crate) item: u64,
    pub(crate) offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    TooLarge {
        limit: usize,
    },
    TooDeep {
        limit: usize,
    },
    Utf8,
    /// The expected or found syntax, as the end of a sentence: `expected "," or "]"`.
    Syntax(&'static str),
    Truncated,
}

impl DecodeError {
    pub(crate) fn new(kind: Kind, format: Format, item: u64, offset: u64) -> Self {
        Self {
            kind,
            format,
            item,
            offset,
        }
    }

    /// Returns `true` if the item exceeds
    /// [`Limits::max_item_bytes`](crate::Limits::max_item_bytes).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(self.kind, Kind::TooLarge { .. })
    }

    /// Returns `true` if the item exceeds [`Limits::max_depth`](crate::Limits::max_depth).
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        matches!(self.kind, Kind::TooDeep { .. })
    }

    /// Returns `true` if the item isn't UTF-8 although the format requires it.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        matches!(self.kind, Kind::Utf8)
    }

    /// Returns `true` if the bytes violate the format's grammar.
    #[must_use]
    pub fn is_syntax(&self) -> bool {
        matches!(self.kind, Kind::Syntax(_))
    }

    /// Returns `true` if the input ended inside an item.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        matches!(self.kind, Kind::Truncated)
    }

    /// Returns the number of the item with the error. The first is 1.
    #[must_use]
    pub fn item(&self) -> u64 {
        self.item
    }

    /// Returns the number of bytes of the stream before the error.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            format,
            item,
            offset,
        } = self;
        write!(f, "{format} item {item}, byte {offset}: ")?;
        match kind {
            Kind::TooLarge { limit } => write!(f, "larger than the limit of {limit} bytes"),
            Kind::TooDeep { limit } => write!(f, "nested deeper than the limit of {limit}"),
            Kind::Utf8 => f.write_str("not valid UTF-8"),
            Kind::Syntax(what) => f.write_str(what),
            Kind::Truncated => f.write_str("the stream ended inside the item"),
        }
    }
}

impl Error for DecodeError {}

/// An error while writing an item. The output is as it was before the call.
#[derive(Debug)]
pub struct EncodeError(pub(crate) EncodeKind);

#[derive(Debug)]
pub(crate) enum EncodeKind {
    Field {
        field: &'static str,
        found: &'static str,
    },
    Json(serde_json::Error),
}

impl EncodeError {
    /// Returns `true` if an SSE `id` or `event` contains a character that the format can't
    /// represent.
    #[must_use]
    pub fn is_field(&self) -> bool {
        matches!(self.0, EncodeKind::Field { .. })
    }

    /// Returns `true` if the item can't be serialised as JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        matches!(self.0, EncodeKind::Json(_))
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            EncodeKind::Field { field, found } => {
                write!(f, "an SSE {field} can't hold {found}")
            }
            EncodeKind::Json(_) => f.write_str("the item can't be serialised as JSON"),
        }
    }
}

impl Error for EncodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            EncodeKind::Field { .. } => None,
            EncodeKind::Json(error) => Some(error),
        }
    }
}
