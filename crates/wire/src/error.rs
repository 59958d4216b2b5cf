use crate::Format;

/// An error in a stream of bytes, with its kind and location.
///
/// The decoder returns no more items after it, except for [`json_seq`](crate::json_seq), whose
/// standard defines how to continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{format} item {item}, byte {offset}: {kind}")]
pub struct DecodeError {
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    pub(crate) item: u64,
    pub(crate) offset: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Kind {
    #[error("larger than the limit of {limit} bytes")]
    TooLarge { limit: usize },
    #[error("nested deeper than the limit of {limit}")]
    TooDeep { limit: usize },
    #[error("not valid UTF-8")]
    Utf8,
    /// The expected or found syntax, as the end of a sentence: `expected "," or "]"`.
    #[error("{0}")]
    Syntax(&'static str),
    #[error("the stream ended inside the item")]
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

    crate::predicates! { error => error.kind;
        /// Returns `true` if the item exceeds
        /// [`Limits::max_item_bytes`](crate::Limits::max_item_bytes).
        is_too_large: Kind::TooLarge { .. },
        /// Returns `true` if the item exceeds [`Limits::max_depth`](crate::Limits::max_depth).
        is_too_deep: Kind::TooDeep { .. },
        /// Returns `true` if the item isn't UTF-8 although the format requires it.
        is_utf8: Kind::Utf8,
        /// Returns `true` if the bytes violate the format's grammar.
        is_syntax: Kind::Syntax(_),
        /// Returns `true` if the input ended inside an item.
        is_truncated: Kind::Truncated,
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

/// An error while writing an item. The output is as it was before the call.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct EncodeError(pub(crate) EncodeKind);

#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeKind {
    #[error("an SSE {field} can't hold {found}")]
    Field {
        field: &'static str,
        found: &'static str,
    },
    #[error("the item can't be serialised as JSON")]
    Json(#[source] serde_json::Error),
}

impl EncodeError {
    crate::predicates! { error => error.0;
        /// Returns `true` if an SSE `id` or `event` contains a character that the format can't
        /// represent.
        is_field: EncodeKind::Field { .. },
        /// Returns `true` if the item can't be serialised as JSON.
        is_json: EncodeKind::Json(_),
    }
}
