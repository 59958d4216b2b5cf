//! `GET /events`: many streams on one connection, in the hub's global order.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::IntoResponse,
};
use bytes::Bytes;
use headwater::{
    Format, In, LastEventId, MediaRange, Operation, Problem, Query, Raw, StatusCode, operation,
    query_parameter,
};
use headwater_auth::Action;
use headwater_log::{Log, Mark, Position};
use headwater_wire::sse::END_ID;
use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use super::openapi::{Answer, Heartbeats, Resumption, WithNotices, description};
use crate::fanout::all::{
    encode::{self, Reason, Reset, Sent},
    patterns::Patterns,
    reader::Feed,
};
use crate::{
    access::Caller,
    error::Failure,
    limits::EVENT_PATTERNS,
    protocol::{header_names, media_type},
    requests::{peer::Peer, rates::Meter},
    state::HubState,
};

/// The parameters of a reader of many streams.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Follow {
    /// Patterns of the streams to read, relative to the root of the streams. `*` matches one
    /// segment, `**` any number. May be repeated. Streams that don't exist yet are read from their
    /// first message.
    #[schemars(length(min = 1, max = EVENT_PATTERNS))]
    stream: Vec<String>,
    /// The start: after the event with this id, `-1` for the start, `now` for the end. Default: the
    /// start.
    after: Option<String>,
    /// Another name for `after`, as for one stream.
    offset: Option<String>,
    /// If `true`, the response continues with new events when all existing ones are sent.
    #[serde(default = "yes")]
    live: bool,
}

fn yes() -> bool {
    true
}

/// A place in the hub's global order at which a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Now,
    After(Mark<Position>),
    /// After an event whose id doesn't identify the order it belongs to.
    Unknown,
}

impl Place {
    /// Parses the parameter `after`.
    ///
    /// # Errors
    /// 400: no hub ever issued an id of this form.
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "-1" => return Ok(Self::Start),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        if let Ok(mark) = text.parse() {
            return Ok(Self::After(mark));
        }
        // Earlier versions wrote a position without its order.
        if text.parse::<Position>().is_ok() {
            return Ok(Self::Unknown);
        }
        let detail = "the id is not an event's; \"-1\" is the start, and \"now\" the end";
        Err(Problem::bad_request(detail))
    }

    /// Parses the id of the last event that a client received. Any text is accepted.
    fn seen(id: &str) -> Self {
        Self::parse(id).unwrap_or(Self::Unknown)
    }

    /// Returns the position in the order of this log, or the reason for which there is none.
    fn find(self, log: &dyn Log) -> Result<Position, Reason> {
        let head = log.follow_order().head();
        match self {
            Self::Start => Ok(Position::START),
            Self::Now => Ok(head),
            Self::After(mark) if mark.incarnation != log.identity().order() => {
                Err(Reason::OtherOrder)
            }
            Self::After(mark) if mark.at > head => Err(Reason::BeyondTail),
            Self::After(mark) => Ok(mark.at),
            Self::Unknown => Err(Reason::OtherOrder),
        }
    }
}

/// Maximum number of characters of a foreign id that are repeated to the client.
const ASKED_CHARS: usize = 100;

/// Returns the event for a reader whose id doesn't belong to this hub's order.
fn reset(format: Format, start: Mark<Position>, reason: Reason, asked: &str) -> Bytes {
    let asked: String = asked.chars().take(ASKED_CHARS).collect();
    let detail = match reason {
        Reason::OtherOrder => {
            "the id is of another hub, of a single stream, or of this hub before its data was removed: reading \
             restarts from the beginning"
        }
        Reason::BeyondTail => {
            "the id is past the last event that this hub has: reading restarts from the beginning"
        }
    };
    let reset = Reset {
        id: start,
        reset: true,
        reason,
        asked: &asked,
        detail,
    };
    let mut out = Vec::new();
    encode::reset(format, &reset, &mut out);
    out.into()
}

description! {
    /// A read of many streams.
    pub(crate) Following: Resumption, Heartbeats
    request {
        /// `text/event-stream` or `application/x-ndjson`. Default: the latter.
        ACCEPT
    }
    replies {
        /// Messages. An event of the type `headwater:trimmed`, in NDJSON an object with `trimmed`,
        /// stands for trimmed or damaged messages; one of the type `headwater:deleted`, or an object with
        /// `deleted`, reports a deleted stream; one of the type `headwater:imported`, or an object with
        /// `imported`, an imported stream; one of the type `headwater:reset`, or an object with
        /// `reset`, reports that the id to resume from is not this hub's, and that everything
        /// follows
        OK
        /// The stream has ended, and the client has already received its end
        NO_CONTENT
    }
    errors {
        /// A pattern, an id or the format is invalid
        BAD_REQUEST
        /// None of the formats that the client accepts is offered
        NOT_ACCEPTABLE
        /// The limit of live readers is reached
        TOO_MANY_REQUESTS
    }
    also |operation: &mut Operation| {
        let text = "The format, for clients that can't set `Accept`.";
        operation.parameter::<media_type::Format>(In::Query, "format", text);
        let formats = [Format::Sse, Format::Ndjson];
        operation.stream_reply::<WithNotices<Sent<'static>>>(StatusCode::OK, &formats, "");
        let next = "The id to start after, if the connection breaks before the first event.";
        operation.reply_header(StatusCode::OK, "Stream-Next-Offset", next);
    }
}

/// Reads many streams on one connection.
///
/// Messages arrive in the order in which the hub accepted them, across all streams. The `id` of an
/// event is a position in that order: after a disconnect, `Last-Event-ID` or `after` resumes
/// exactly there, even if other streams match by then. Each event is an object with the path of its
/// stream. Events have no name, so `onmessage` receives all of them.
///
/// Only messages that still exist are sent. If a stream's caps of age or size removed messages
/// before they could be sent, an event of the type `headwater:trimmed` is sent in their place (in
/// NDJSON, a line with `trimmed` and without `data`). It contains the stream and the offset up to
/// which all messages are gone. A reader from the start receives one for each stream that was ever
/// trimmed; a reader that had received all removed messages receives none. Reading doesn't count as
/// use of a stream with an idle expiry.
///
/// Messages that are damaged in the hub's files are reported in the same way. Their notice has the offset
/// before the first of them as `damaged_from`, and only the messages from there to `offset` are gone.
///
/// When a stream is deleted or expires, an event of the type `headwater:deleted` is sent (in
/// NDJSON, a line with `deleted`), with the stream and the `reason`: `deleted` or `expired`. It
/// follows all of the stream's messages, both live and when a reader resumes. Messages of a stream
/// that is gone are not sent any more. A reader from the start only receives ends from then on. The
/// latest 65,536 ends are kept. A reader that resumes from before an older one receives a
/// `headwater:deleted` with the `reason` `forgotten` and without `stream` in its place, and has to
/// compare its state with the list of streams.
///
/// When a stream is imported, an event of the type `headwater:imported` (in NDJSON, a line with `imported`) has the
/// offset after its last imported message. A reader that was connected during the import hasn't received these
/// messages, and can read them in the stream itself. One that resumes from before the import has received them.
///
/// An id identifies its hub. An id of another hub, or of this one before its data was removed,
/// never skips anything: the response begins with an event of the type `headwater:reset` (in
/// NDJSON, a line with `reset`), followed by all existing messages. A reader that starts at `now`
/// receives its position at once, as an event of the type `headwater:position`. In every format it
/// is in the header `Stream-Next-Offset`.
#[operation]
pub(crate) async fn follow_events(
    State(core): State<Arc<HubState>>,
    Query(follow): Query<Follow>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    peer: Option<Peer>,
    meter: Meter,
    caller: Caller,
) -> Result<Answer<Following>, Failure> {
    let LastEventId(seen) = LastEventId::sent_by_event_source(&headers, query.as_deref());
    let seen = seen.as_deref();
    let format = match media_type::Format::named(query.as_deref())? {
        Some(media_type::Format::Sse) => Format::Sse,
        Some(media_type::Format::Ndjson) => Format::Ndjson,
        None => preferred(&headers).ok_or_else(|| {
            media_type::unacceptable(&["text/event-stream", "application/x-ndjson"])
        })?,
    };
    if seen == Some(END_ID) {
        let over = (
            StatusCode::NO_CONTENT,
            [(header::CACHE_CONTROL, "no-store")],
        );
        return Ok(over.into_response().into());
    }
    let wanted = Patterns::parse(&follow.stream)?;
    let wanted = Arc::new(wanted.within(caller.limits(Action::Read)));
    if query_parameter(query.as_deref(), "since") != Ok(None) {
        let detail = "`since` is for one stream: give `after`, the id of an event, `-1` or `now`";
        return Err(Failure::bad_request(detail));
    }
    if follow.after.is_some() && follow.offset.is_some() {
        let detail = "`after` and `offset` are the same: one of them is enough";
        return Err(Failure::bad_request(detail));
    }
    // The last id that an `EventSource` received is newer than the one in its URL.
    let asked = follow.after.as_deref().or(follow.offset.as_deref());
    let place = match seen {
        Some(id) => Place::seen(id),
        None => asked.map_or(Ok(Place::Start), Place::parse)?,
    };
    let log = &*core.log;
    let found = place.find(log);
    let position = found.unwrap_or(Position::START);
    let start = Mark::in_order(position, log.identity());
    // A reader from the start received nothing of streams that ended before.
    let ends_from = match &found {
        Ok(found) if place != Place::Start => *found,
        _ => log.follow_order().head(),
    };
    let asked = seen.or(asked).unwrap_or_default();
    let notice = found.err().map(|why| reset(format, start, why, asked));
    let seat = core.seat(&meter)?;
    let feed = Feed {
        log: Arc::clone(&core.log),
        outgoing: core.outgoing.of(peer),
        live: follow.live.then(|| core.order.join(&core.log, &wanted)),
        wanted,
        format,
        notice,
        order: start.incarnation,
        position,
        ends_from,
        // Only this response can report the position of "now".
        told: (place != Place::Now).then_some(position),
        _seat: seat,
    };
    let raw = Raw::frames(format, feed.into_stream())
        .heartbeat(core.options.heartbeat)
        .line_heartbeat(core.options.line_heartbeat)
        // All checks are done, so the response's head can be sent at once.
        .first_item_wait(std::time::Duration::ZERO);
    let mut response = raw.into_response();
    if let Ok(value) = HeaderValue::try_from(start.to_string()) {
        response
            .headers_mut()
            .insert(header_names::STREAM_NEXT_OFFSET, value);
    }
    Ok(response.into())
}

/// Returns the format that `Accept` prefers (RFC 9110 §12.5.1): by weight, then the more specific
/// range, then NDJSON.
fn preferred(headers: &HeaderMap) -> Option<Format> {
    let ranges: Vec<_> = MediaRange::all(headers).collect();
    if ranges.is_empty() {
        return Some(Format::Ndjson);
    }
    let wish = |format: Format| {
        let fits = ranges.iter().flat_map(|range| {
            let types = format.media_types().iter();
            types.filter_map(|media_type| Some((range.precedence(media_type)?, range.weight())))
        });
        let (exactness, weight) = fits.max()?;
        (weight > 0).then_some((weight, exactness))
    };
    [Format::Sse, Format::Ndjson]
        .into_iter()
        .filter_map(|format| Some((wish(format)?, format)))
        .max_by_key(|(wish, _)| *wish)
        .map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use headwater_log::Identity;

    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Option<Format>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(preferred(&headers), expected, "{accept:?}");
    }

    #[test]
    fn the_format_with_the_highest_weight_is_chosen() {
        assert_eq!(preferred(&HeaderMap::new()), Some(Format::Ndjson));
        check("", Some(Format::Ndjson));
        check("*/*", Some(Format::Ndjson));
        check("text/event-stream", Some(Format::Sse));
        check("text/event-stream, */*", Some(Format::Sse));
        check("text/*", Some(Format::Sse));
        check("application/jsonl", Some(Format::Ndjson));
        check(
            "Text/Event-Stream;q=0.5, application/x-ndjson;q=0.6",
            Some(Format::Ndjson),
        );
        check("text/event-stream;q=0.5, */*;q=0.1", Some(Format::Sse));
        check("application/x-ndjson;q=0, */*", Some(Format::Sse));
        check("text/event-stream;q=0", None);
        check("application/json", None);
        // An invalid member is ignored, and nothing else is left.
        check("application/x-ndjson;q=NaN", Some(Format::Ndjson));
        check("text/event-stream;q=2, */*;q=0.5", Some(Format::Ndjson));
    }

    #[test]
    fn a_place_is_a_sentinel_or_an_id() {
        assert_eq!(Place::parse("-1").unwrap(), Place::Start);
        assert_eq!(Place::parse("now").unwrap(), Place::Now);
        let seven = Mark::in_order(Position::new(7), Identity::new(1));
        let parsed = Place::parse(&seven.to_string()).unwrap();
        assert_eq!(parsed, Place::After(seven));
        // An id of an earlier version.
        assert_eq!(Place::parse("0000000000000007").unwrap(), Place::Unknown);
        assert_eq!(Place::seen("x"), Place::Unknown);
        for bad in ["", "7", "start", "00000000000000007"] {
            assert!(Place::parse(bad).is_err(), "{bad:?}");
        }
    }
}
