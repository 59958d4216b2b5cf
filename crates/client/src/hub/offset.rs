use std::{convert::Infallible, fmt, str::FromStr};

use headwater_wire::Str;

/// A place in a stream, as the hub writes it. Offsets of one stream order as their texts do.
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

/// Where a reader starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the first message that is still there.
    #[default]
    Start,
    /// With what is appended from now on.
    Now,
    /// At this offset, with the message after it.
    Offset(Offset),
    /// With the first message that was appended at this time (RFC 3339) or later.
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
