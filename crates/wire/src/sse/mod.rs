//! Server-Sent Events, as the WHATWG HTML standard has them (§9.2, "Server-sent events").

mod decode;
mod encode;
mod field;
#[cfg(test)]
pub(crate) mod reference;
mod split;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::{encode_comment, encode_json, encode_retry, encode_text};
pub use split::{Block, Splitter};

/// The id of the event by which a Headwater server says that a stream is finished.
///
/// A native `EventSource` takes a finished response for a lost connection and comes back, with this
/// as its `Last-Event-ID`; the server answers 204, which stops it for good (WHATWG HTML §9.2.3:
/// "Clients will reconnect if the connection is closed; a client can be told to stop reconnecting
/// using the HTTP 204 No Content response code"). Headwater's clients stop at once.
pub const END_ID: &str = "headwater:end";

/// The type of the event that carries [`END_ID`], for pages that listen for it.
pub const END_EVENT: &str = "end";

/// The type of the event that reports an error in the middle of a stream.
pub const ERROR_EVENT: &str = "error";

/// The type of the event that tells a reader its position before the first message. Its id is the position.
pub const POSITION_EVENT: &str = "headwater:position";

/// The type of the event that tells a reader that its position doesn't fit the stream, and where reading starts instead.
pub const RESET_EVENT: &str = "headwater:reset";
