//! Server-Sent Events, as defined by the WHATWG HTML standard (§9.2, "Server-sent events").

mod decode;
mod encode;
mod field;
#[cfg(test)]
pub(crate) mod reference;
mod split;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::{encode_comment, encode_json, encode_lines, encode_retry, encode_text};
use field::Field;
pub use split::{Block, Splitter};

/// The prefix of every event type and event id that is reserved for Headwater.
///
/// All statements of a server about a stream, inside the stream, are events of such a type. The
/// framework and the hub refuse these names for an application's events ([`reserved_field`]). The
/// type alone therefore shows that an event is Headwater's own.
pub const RESERVED_PREFIX: &str = "headwater:";

/// The id of the event by which a Headwater server marks a complete stream.
///
/// A native `EventSource` treats a finished response as a lost connection and reconnects with this
/// id as its `Last-Event-ID`. The server then responds with 204, which stops it for good (WHATWG
/// HTML §9.2.3: "Clients will reconnect if the connection is closed; a client can be told to stop
/// reconnecting using the HTTP 204 No Content response code"). Headwater's clients stop at once.
pub const END_ID: &str = "headwater:end";

/// The type of the event with [`END_ID`], for pages that listen for it.
pub const END_EVENT: &str = "headwater:end";

/// The type of the event that reports an error in the middle of a stream. Its data is a problem
/// (RFC 9457).
pub const ERROR_EVENT: &str = "headwater:error";

/// The type of the event that reports the reader's position before the first message. Its id is the
/// position.
pub const POSITION_EVENT: &str = "headwater:position";

/// The type of the event for a reader whose position doesn't belong to the stream. Its data has the
/// offset at which reading starts instead.
pub const RESET_EVENT: &str = "headwater:reset";

/// The type of the event that reports to a reader of many streams that messages were trimmed before
/// it received them.
pub const TRIMMED_EVENT: &str = "headwater:trimmed";

/// The type of the event that reports to a reader of many streams that a stream was deleted or has
/// expired.
pub const DELETED_EVENT: &str = "headwater:deleted";

/// The type of the event that reports to a reader of many streams that a stream was imported from another
/// server, with messages that the reader may not have received.
pub const IMPORTED_EVENT: &str = "headwater:imported";

/// Returns `true` if an event type or event id is reserved for Headwater.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// Returns the name and value of the first `event` or `id` field in `text` whose value is
/// [reserved](is_reserved).
///
/// Every line counts, including one in a block that dispatches no event, and one that a later line
/// of its block overrides. `text` is the start of a stream or of a block of it: a byte order mark
/// before the first line is skipped.
#[must_use]
pub fn reserved_field(text: &[u8]) -> Option<(&'static str, String)> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // Most messages have no such text.
    memchr::memmem::find(text, RESERVED_PREFIX.as_bytes())?;
    text.split(|&byte| matches!(byte, b'\n' | b'\r'))
        .find_map(|line| {
            let (field, start) = field::parse(line)?;
            let name = match field {
                Field::Event => "event",
                Field::Id => "id",
                Field::Data | Field::Retry => return None,
            };
            let value = String::from_utf8_lossy(&line[start..]);
            is_reserved(&value).then(|| (name, value.into_owned()))
        })
}
