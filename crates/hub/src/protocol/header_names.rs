//! The names of the protocol's headers.

use http::HeaderName;

macro_rules! names {
    ($($constant:ident $name:literal)*) => {
        $(pub(crate) const $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

names! {
    STREAM_CREATE "stream-create"
    STREAM_TTL "stream-ttl"
    STREAM_EXPIRES_AT "stream-expires-at"
    STREAM_ERROR "stream-error"
    STREAM_SEQ "stream-seq"
    STREAM_CURSOR "stream-cursor"
    STREAM_NEXT_OFFSET "stream-next-offset"
    STREAM_UP_TO_DATE "stream-up-to-date"
    STREAM_CLOSED "stream-closed"
    STREAM_FORKED_FROM "stream-forked-from"
    STREAM_FORK_OFFSET "stream-fork-offset"
    STREAM_FORK_SUB_OFFSET "stream-fork-sub-offset"
    STREAM_SSE_DATA_ENCODING "stream-sse-data-encoding"
    STREAM_SCHEMA "stream-schema"
    STREAM_FLOOR "stream-floor"
    STREAM_MAX_AGE "stream-max-age"
    STREAM_MAX_BYTES "stream-max-bytes"
    PRODUCER_ID "producer-id"
    PRODUCER_EPOCH "producer-epoch"
    PRODUCER_SEQ "producer-seq"
    PRODUCER_MESSAGES "producer-messages"
    PRODUCER_DIGEST "producer-digest"
    PRODUCER_EXPECTED_SEQ "producer-expected-seq"
    PRODUCER_RECEIVED_SEQ "producer-received-seq"
    LAST_EVENT_ID "last-event-id"
    UPSTREAM_URL "upstream-url"
    UPSTREAM_METHOD "upstream-method"
    UPSTREAM_CONTENT_TYPE "upstream-content-type"
    UPSTREAM_STATUS "upstream-status"
    IDEMPOTENCY_KEY "idempotency-key"
}
