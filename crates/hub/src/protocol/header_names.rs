//! The names of the protocol's headers, and what they mean in a response.

use http::HeaderName;

/// Defines constants for headers, each with its meaning in a response if it occurs in one.
macro_rules! names {
    ($($(#[doc = $doc:literal])* $constant:ident $name:literal)*) => {
        $(
            $(#[doc = $doc])*
            pub(crate) const $constant: HeaderName = {
                const LOWER: [u8; $name.len()] = {
                    let mut name = *$name.as_bytes().first_chunk().unwrap();
                    name.make_ascii_lowercase();
                    name
                };
                match std::str::from_utf8(&LOWER) {
                    Ok(name) => HeaderName::from_static(name),
                    Err(_) => panic!(),
                }
            };
        )*

        /// The headers as documents spell them, with their meaning in a response.
        const ALL: &[(&str, &str)] = &[$(($name, concat!($($doc),*))),*];
    };
}

/// Returns a header as documents spell it, and its meaning in a response.
pub(crate) fn described(name: &HeaderName) -> (&'static str, &'static str) {
    let (name, text) = known(name).expect("documents only describe headers of the list");
    (name, text.trim_start())
}

/// Returns a header as documents spell it.
pub(crate) fn spelled(name: &HeaderName) -> &str {
    known(name).map_or(name.as_str(), |(name, _)| name)
}

fn known(name: &HeaderName) -> Option<&'static (&'static str, &'static str)> {
    ALL.iter().find(|(known, _)| name == *known)
}

names! {
    ACCEPT "Accept"
    /// The stream's type.
    CONTENT_TYPE "Content-Type"
    /// The public stream's URL, if `stream` names one.
    CONTENT_LOCATION "Content-Location"
    /// Identifies the stream and the part of it.
    ETAG "ETag"
    IF_NONE_MATCH "If-None-Match"
    /// The stream's URL.
    LOCATION "Location"
    /// The upstream's `Retry-After`.
    RETRY_AFTER "Retry-After"
    STREAM_CREATE "Stream-Create"
    /// The number of seconds without use after which the stream is deleted.
    STREAM_TTL "Stream-TTL"
    /// When it ends.
    STREAM_EXPIRES_AT "Stream-Expires-At"
    /// The reason of a stream that failed: a problem (RFC 9457) as JSON, with non-ASCII characters
    /// percent-encoded.
    STREAM_ERROR "Stream-Error"
    STREAM_SEQ "Stream-Seq"
    /// Send it as `cursor` with the next request.
    STREAM_CURSOR "Stream-Cursor"
    /// The offset after the stream's last message, or after the last one in this response.
    STREAM_NEXT_OFFSET "Stream-Next-Offset"
    /// `true` if the response reaches the tail.
    STREAM_UP_TO_DATE "Stream-Up-To-Date"
    /// `true` if the stream is closed and no messages follow.
    STREAM_CLOSED "Stream-Closed"
    STREAM_FORKED_FROM "Stream-Forked-From"
    STREAM_FORK_OFFSET "Stream-Fork-Offset"
    STREAM_FORK_SUB_OFFSET "Stream-Fork-Sub-Offset"
    /// `base64` if the events' data is base64.
    STREAM_SSE_DATA_ENCODING "Stream-SSE-Data-Encoding"
    /// The JSON Schema of its messages, percent-encoded, unless it is long.
    STREAM_SCHEMA "Stream-Schema"
    /// The first offset that can still be read, if it isn't the start.
    STREAM_FLOOR "Stream-Floor"
    /// The minimum time that a message is kept, in seconds.
    STREAM_MAX_AGE "Stream-Max-Age"
    /// The number of bytes of messages that are kept. Messages that were appended together, up to 64 KiB of
    /// them, are trimmed together, and the last ones are always kept.
    STREAM_MAX_BYTES "Stream-Max-Bytes"
    PRODUCER_ID "Producer-Id"
    /// The producer's current epoch.
    PRODUCER_EPOCH "Producer-Epoch"
    /// The highest sequence number that was accepted.
    PRODUCER_SEQ "Producer-Seq"
    /// The number of messages that the producer has appended to the stream, over all its epochs.
    PRODUCER_MESSAGES "Producer-Messages"
    /// The digest of these messages, independent of how they were batched: 32 hexadecimal digits,
    /// XXH3-128 of the digest before, the XXH3-128 of the message and its length in bytes, all
    /// little-endian (16, 16 and 8 bytes); 0 of none.
    PRODUCER_DIGEST "Producer-Digest"
    /// The expected sequence number.
    PRODUCER_EXPECTED_SEQ "Producer-Expected-Seq"
    /// The received sequence number.
    PRODUCER_RECEIVED_SEQ "Producer-Received-Seq"
    LAST_EVENT_ID "Last-Event-ID"
    UPSTREAM_AUTHORIZATION "Upstream-Authorization"
    UPSTREAM_URL "Upstream-URL"
    UPSTREAM_METHOD "Upstream-Method"
    /// The `Content-Type` of the upstream's response.
    UPSTREAM_CONTENT_TYPE "Upstream-Content-Type"
    /// The status of the upstream's response, if there was one.
    UPSTREAM_STATUS "Upstream-Status"
    IDEMPOTENCY_KEY "Idempotency-Key"
}
