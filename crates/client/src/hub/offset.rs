use std::{convert::Infallible, fmt, str::FromStr};

use headwater_wire::Str;

/// A position in a stream, in the hub's textual form. Offsets of one stream are ordered as their
/// texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(String);

impl Offset {
    /// The text of the offset.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The start of any stream.
impl Default for Offset {
    fn default() -> Self {
        Self("-1".to_owned())
    }
}

impl From<&str> for Offset {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Offset {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&Str> for Offset {
    fn from(text: &Str) -> Self {
        Self(text.as_str().to_owned())
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The start of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first message that still exists.
    #[default]
    Start,
    /// Messages that are appended from now on.
    Now,
    /// The message after this offset.
    Offset(Offset),
    /// The first message that was appended at this time (RFC 3339) or later.
    Since(String),
}

impl From<Offset> for ReadFrom {
    fn from(offset: Offset) -> Self {
        Self::Offset(offset)
    }
}

/// `start` (or `-1`), `now`, or an offset.
impl FromStr for ReadFrom {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "start" | "-1" => Self::Start,
            "now" => Self::Now,
            offset => Self::Offset(offset.into()),
        })
    }
}
