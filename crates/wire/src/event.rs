use crate::Str;

/// One complete decoded item.
///
/// In all formats but SSE, only [`data`](Self::data) is set. The other fields have their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The payload. In the JSON formats and NDJSON, the text of one JSON value.
    pub data: Str,
    /// The SSE event type. `message` if the stream sets none.
    pub event: Str,
    /// The SSE last event id *after* this event. It persists between events, as the standard
    /// requires, and is empty until the stream sets one.
    pub id: Str,
}

impl Event {
    /// The type of an event that sets none.
    pub const DEFAULT_TYPE: &'static str = "message";

    /// Creates an event with this payload and default metadata.
    #[must_use]
    pub fn new(data: Str) -> Self {
        Self {
            data,
            event: Str::from_static(Self::DEFAULT_TYPE),
            id: Str::from_static(""),
        }
    }

    /// Returns `true` if the event marks the end of a complete stream of a Headwater server.
    ///
    /// The mark has both the type [`sse::END_EVENT`](crate::sse::END_EVENT) and the id
    /// [`sse::END_ID`](crate::sse::END_ID). An event with only one of them isn't the mark. An
    /// [error](Self::is_error) with that id ends the stream too, but the stream isn't complete
    /// then.
    #[must_use]
    pub fn is_end(&self) -> bool {
        &*self.event == crate::sse::END_EVENT && &*self.id == crate::sse::END_ID
    }

    /// Returns `true` if the event reports an error of the server (`event: headwater:error`). An
    /// application's own `error` event has no special meaning.
    #[must_use]
    pub fn is_error(&self) -> bool {
        &*self.event == crate::sse::ERROR_EVENT
    }

    /// Returns `true` if the event reports the reader's position before the first message.
    ///
    /// See [`sse::POSITION_EVENT`](crate::sse::POSITION_EVENT).
    #[must_use]
    pub fn is_position(&self) -> bool {
        &*self.event == crate::sse::POSITION_EVENT
    }

    /// Returns `true` if the event of a server of many streams reports that messages were trimmed
    /// before the reader received them.
    ///
    /// See [`sse::TRIMMED_EVENT`](crate::sse::TRIMMED_EVENT).
    #[must_use]
    pub fn is_trimmed(&self) -> bool {
        &*self.event == crate::sse::TRIMMED_EVENT
    }

    /// Returns `true` if the event of a server of many streams reports that a stream was deleted or
    /// has expired.
    ///
    /// See [`sse::DELETED_EVENT`](crate::sse::DELETED_EVENT).
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        &*self.event == crate::sse::DELETED_EVENT
    }

    /// Returns `true` if the event of a server of many streams reports that a stream was imported.
    ///
    /// See [`sse::IMPORTED_EVENT`](crate::sse::IMPORTED_EVENT).
    #[must_use]
    pub fn is_imported(&self) -> bool {
        &*self.event == crate::sse::IMPORTED_EVENT
    }

    /// Returns `true` if the event reports that the stream starts over, because the position from
    /// which the reader resumed doesn't belong to it.
    ///
    /// See [`sse::RESET_EVENT`](crate::sse::RESET_EVENT).
    #[must_use]
    pub fn is_reset(&self) -> bool {
        &*self.event == crate::sse::RESET_EVENT
    }
}
