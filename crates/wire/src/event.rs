use crate::Str;

/// One complete item as it came off the wire.
///
/// In every format but SSE only [`data`](Self::data) carries something; the other fields have their
/// defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The payload. In the JSON formats and in NDJSON: the text of one JSON value.
    pub data: Str,
    /// The SSE event type; `message` where the stream names none.
    pub event: Str,
    /// The SSE last event id *after* this event: it persists from event to event, as the standard
    /// says, and is empty until the stream sets one.
    pub id: Str,
}

impl Event {
    /// The event type of an event that names none.
    pub const DEFAULT_TYPE: &'static str = "message";

    /// An event with this payload and default metadata.
    #[must_use]
    pub fn new(data: Str) -> Self {
        Self {
            data,
            event: Str::from_static(Self::DEFAULT_TYPE),
            id: Str::from_static(""),
        }
    }

    /// Whether this is the mark by which a Headwater server says that a stream is finished.
    ///
    /// It has both the type [`sse::END_EVENT`](crate::sse::END_EVENT) and the id [`sse::END_ID`](crate::sse::END_ID): an
    /// event with one of them alone isn't the mark. An [error](Self::is_error) with that id is the end too, but not of a
    /// stream that is finished.
    #[must_use]
    pub fn is_end(&self) -> bool {
        &*self.event == crate::sse::END_EVENT && &*self.id == crate::sse::END_ID
    }

    /// Whether the server reports an error in this event (`event: headwater:error`). An application's own `error` is an
    /// event like any other.
    #[must_use]
    pub fn is_error(&self) -> bool {
        &*self.event == crate::sse::ERROR_EVENT
    }

    /// Whether the server tells its reader where it is, before the first message, in this event.
    ///
    /// See [`sse::POSITION_EVENT`](crate::sse::POSITION_EVENT).
    #[must_use]
    pub fn is_position(&self) -> bool {
        &*self.event == crate::sse::POSITION_EVENT
    }

    /// Returns whether this event of a server of many streams says that messages were trimmed before the reader got them.
    ///
    /// See [`sse::TRIMMED_EVENT`](crate::sse::TRIMMED_EVENT).
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        &*self.event == crate::sse::TRIMMED_EVENT
    }

    /// Returns whether this event of a server of many streams says that a stream was deleted or has expired.
    ///
    /// See [`sse::DELETED_EVENT`](crate::sse::DELETED_EVENT).
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        &*self.event == crate::sse::DELETED_EVENT
    }

    /// Whether the server tells its reader in this event that the stream starts over, as the position that it resumed from
    /// is none of it.
    ///
    /// See [`sse::RESET_EVENT`](crate::sse::RESET_EVENT).
    #[must_use]
    pub fn is_reset(&self) -> bool {
        &*self.event == crate::sse::RESET_EVENT
    }
}
