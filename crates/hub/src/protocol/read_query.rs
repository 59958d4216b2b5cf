//! The query parameters of a read.

use headwater::{Problem, StatusCode};
use headwater_log::{Info, Mark, Offset, Timestamp};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    media_type::Format,
    query::{query, word},
    time,
};

/// The first offset in the form of the protocol's reference server. Some clients depend on it.
const ZERO: &str = "0000000000000000_0000000000000000";

/// Maximum number of characters of a foreign id that are repeated to the client.
const ASKED_CHARS: usize = 100;

/// A position from which to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first message that still exists: `-1`.
    Start,
    /// After the last message: `now`.
    Now,
    /// Before the first message that ever existed.
    First,
    At(Mark),
    /// A position that doesn't identify its stream: an offset of an earlier version, or a foreign
    /// event id.
    Unknown(String),
}

impl Place {
    /// Parses the parameter `offset`.
    ///
    /// # Errors
    /// 400: no server of this kind ever issued an offset of this form.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "-1" => return Ok(Self::Start),
            "now" => return Ok(Self::Now),
            ZERO => return Ok(Self::First),
            _ => {}
        }
        if let Ok(mark) = text.parse() {
            return Ok(Self::At(mark));
        }
        // Earlier versions wrote an offset without its stream.
        if text.parse::<Offset>().is_ok() {
            return Ok(Self::Unknown(text.to_owned()));
        }
        let detail = "the offset is not from this server; \"-1\" is the start, and \"now\" the end";
        Err(Problem::bad_request(detail))
    }

    /// Parses the id of the last event that a client received. Any text is accepted.
    pub(crate) fn seen(id: &str) -> Self {
        Self::parse(id).unwrap_or_else(|_| Self::Unknown(id.chars().take(ASKED_CHARS).collect()))
    }

    /// Returns the offset in a stream, or the reason for which it can't be read from there.
    pub(crate) fn find(&self, info: &Info) -> Result<Offset, Lost> {
        let (asked, offset) = match self {
            Self::Start => return Ok(info.floor),
            Self::Now => return Ok(info.tail),
            Self::First => (ZERO.to_owned(), Some(Offset::START)),
            Self::At(mark) => (mark.to_string(), info.lineage.find(*mark)),
            Self::Unknown(text) => (text.clone(), None),
        };
        let why = match offset {
            None => match self {
                Self::At(mark) if info.lineage.has_lost(*mark) => Why::Lost,
                _ => Why::OtherStream,
            },
            Some(offset) if offset < info.floor => Why::Trimmed,
            Some(offset) if offset > info.tail => Why::BeyondTail,
            Some(offset) => return Ok(offset),
        };
        Err(Lost {
            asked,
            why,
            floor: info.at(info.floor),
            tail: info.at(info.tail),
        })
    }
}

/// The reason for which a stream can't be read from a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The position belongs to another stream.
    OtherStream,
    /// The messages before the position were in the stream, and a failure of the storage took them.
    Lost,
    /// The position is past the tail.
    BeyondTail,
    /// The messages after it are gone.
    Trimmed,
}

/// A position from which a stream can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    asked: String,
    why: Why,
    floor: Mark,
    tail: Mark,
}

/// The notice for a reader whose position can't be read from and who receives all existing messages
/// instead.
#[derive(Debug, Serialize)]
struct Reset<'a> {
    /// The position at which reading starts.
    offset: String,
    reason: Why,
    /// The requested position.
    asked: &'a str,
    detail: String,
}

impl Lost {
    /// Returns the position at which reading starts instead.
    pub(crate) fn floor(&self) -> Mark {
        self.floor
    }

    /// Returns the data of the event for a restart at another position.
    pub(crate) fn reset(&self) -> String {
        let reset = Reset {
            offset: self.floor.to_string(),
            reason: self.why,
            asked: &self.asked,
            detail: format!("{}: reading restarts from the beginning", self.says()),
        };
        // Strings can always be serialised.
        serde_json::to_string(&reset).unwrap_or_default()
    }

    /// Returns the response for a reader that can't be informed within the stream.
    pub(crate) fn problem(&self) -> Problem {
        let status = match self.why {
            Why::OtherStream | Why::Lost | Why::Trimmed => StatusCode::GONE,
            Why::BeyondTail => StatusCode::BAD_REQUEST,
        };
        let detail = format!("{}: start over with offset=-1", self.says());
        let problem = Problem::new(status)
            .detail(detail)
            .with("reason", json!(self.why))
            .with("floor", self.floor.to_string());
        match self.why {
            Why::BeyondTail => problem.with("tail", self.tail.to_string()),
            Why::OtherStream | Why::Lost | Why::Trimmed => problem,
        }
    }

    fn says(&self) -> String {
        let Self {
            asked, floor, tail, ..
        } = self;
        match self.why {
            Why::OtherStream => format!(
                "the position {asked:?} is of another stream, or of this one before it was deleted and created again"
            ),
            Why::Lost => format!(
                "messages before the position {asked:?} were lost in a failure of the hub's storage, and others may have their offsets now"
            ),
            Why::BeyondTail => {
                format!("the position {asked:?} is past the end of the stream, which is {tail}")
            }
            Why::Trimmed => format!(
                "the messages after the position {asked:?} were trimmed; the stream starts at offset {floor}"
            ),
        }
    }
}

/// The behaviour at the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Live {
    LongPoll,
    Sse,
    #[serde(rename = "false")]
    No,
}

query! {
    /// The parameters of a read.
    pub(crate) struct Query {
        /// The offset to start at, as this server returned it; `-1` for the start, `now` for the
        /// tail. Default: the start.
        offset: Place as String = |_, text| Place::parse(text),
        /// In place of `offset`: start with the first message that was appended at this time (RFC
        /// 3339) or later. A `+` is written `%2B`.
        since: Timestamp as String = time::parse_in_query,
        /// The way to continue at the tail.
        live: Live as Live = word::<Live>,
        /// Follows the stream in this format, for a client that can't set `Accept`.
        format: Format as Format = word::<Format>,
        /// The `Stream-Cursor` of the previous response.
        cursor: u64 as String = |_, text: &str| Ok::<_, Problem>(text.parse::<u64>().ok()),
    }
    check |query: &Self| match (&query.offset, query.since) {
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "offset and since are both a start: give one of them",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use headwater_log::{Identity, Lineage};

    use super::*;

    #[track_caller]
    fn refuses(query: &str) {
        assert!(Query::parse(query).is_err(), "{query:?}");
    }

    #[test]
    fn an_offset_is_a_sentinel_or_a_mark() {
        let offset = |query: &str| Query::parse(query).unwrap().offset;
        assert_eq!(offset("offset=-1"), Some(Place::Start));
        assert_eq!(offset("offset=now&x=y"), Some(Place::Now));
        let mark = Lineage::new(Identity::new(1).stream(1)).at(Offset::new(7));
        assert_eq!(offset(&format!("offset={mark}&x=y")), Some(Place::At(mark)));
        assert_eq!(offset(&format!("offset={ZERO}")), Some(Place::First));
        // An offset of an earlier version.
        let old = Place::Unknown("0000000000000007".to_owned());
        assert_eq!(offset("offset=0000000000000007"), Some(old));
        assert_eq!(Place::seen("x y"), Place::Unknown("x y".to_owned()));
        assert_eq!(offset("x=y"), None);
        refuses("offset=");
        refuses("offset=7");
        refuses("offset=0000000000000007,1");
        refuses("offset=-1&offset=-1");
    }

    #[test]
    fn a_time_can_replace_an_offset() {
        let since = |query| Query::parse(query).unwrap().since;
        assert_eq!(since("since=1970-01-01T00:00:01Z"), Some(Timestamp(1000)));
        assert_eq!(
            since("since=1970-01-01T01:00:00%2B01:00"),
            Some(Timestamp(0))
        );
        assert_eq!(since("offset=-1"), None);
        refuses("since=");
        refuses("since=10m");
        refuses("since=1970-01-01T00:00:01Z&offset=-1");
    }

    #[test]
    fn an_unknown_mode_is_refused_and_an_invalid_cursor_is_ignored() {
        assert_eq!(Query::parse("live=sse&cursor=x").unwrap().cursor, None);
        assert_eq!(Query::parse("cursor=17").unwrap().cursor, Some(17));
        refuses("live=yes");
        refuses("format=xml");
    }
}
