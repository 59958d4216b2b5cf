//! `GET`, `HEAD` and `DELETE`: reading, inspecting and deleting a stream.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use headwater::{LastEventId, Raw, StatusCode};
use headwater_log::{Expiry, Info, Offset, ReadFrom, StreamName};
use headwater_wire::{Format as Wire, sse::END_ID};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::time::Instant;

use super::{
    create::content_type,
    openapi::{Answer, Deletion, MetadataByPath, ReadingByPath},
    plain_read::{self, Read},
};
use crate::{
    error::{Failure, offset_value, published_headers},
    fanout::{
        described,
        send_budget::Outgoing,
        stream::{Form, Reader, Shape, encode},
    },
    forward,
    ingest::{WatchGuard, is_watched},
    limits::SCHEMA_HEADER_BYTES,
    protocol::{
        close_reason, cursor, header_names, headers,
        media_type::{Format, accepted, is_active},
        path::StreamPath,
        read_query::{Live, Lost, Place, Query},
        time,
    },
    requests::{
        headers::HeadBody,
        peer::Peer,
        rates::{Meter, Seat},
    },
    state::HubState,
};

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Reads a stream.
///
/// By default the response contains all existing messages, in the stream's own type: JSON messages
/// as one array, all others concatenated. `live=long-poll` waits for new messages, `live=sse` is
/// the protocol's own SSE. With `Accept` or `format`, the stream is read live as events, one for
/// each message with the offset after it as its id (as an `EventSource` does), or as lines of JSON.
/// `live=false` ends these at the tail.
#[headwater::operation]
pub(crate) async fn read(
    State(hub): State<Arc<HubState>>,
    path: StreamPath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    peer: Option<Peer>,
    meter: Meter,
) -> Result<Answer<ReadingByPath>, Failure> {
    let query = query.unwrap_or_default();
    let response = get(&hub, &path.name, &query, &headers, peer, &meter).await?;
    Ok(response.into())
}

pub(crate) async fn get(
    hub: &Arc<HubState>,
    name: &StreamName,
    query: &str,
    headers: &HeaderMap,
    peer: Option<Peer>,
    meter: &Meter,
) -> Result<Response, Failure> {
    let LastEventId(seen) = LastEventId::sent_by_event_source(headers, Some(query));
    let mut query = Query::parse(query)?;
    if let Some(moment) = query.since {
        // Looked up before the stream's state: from here on, the tail only moves forward.
        let found = hub.log.read(name, ReadFrom::Since(moment), 1).await?;
        query.offset = Some(Place::At(found.lineage.at(found.from)));
    }
    let needs_offset = match query.live {
        Some(Live::LongPoll) => true,
        // The last id of an `EventSource` is a starting position, too.
        Some(Live::Sse) => seen.is_none(),
        Some(Live::No) | None => false,
    };
    if needs_offset && query.offset.is_none() {
        return Err(Failure::bad_request(
            "a live read needs its start: offset=-1, now, or an offset",
        ));
    }
    let mut info = described(&*hub.log, name).await?;
    let format = match (query.format, query.live) {
        (None, Some(Live::Sse | Live::LongPoll)) => None,
        (None, _) => accepted(headers, &info.settings.content_type)?,
        (named, _) => named,
    };
    let form = match (query.live, format) {
        (Some(Live::Sse), _) => Some(Form::Protocol),
        (Some(Live::LongPoll), _) | (_, None) => None,
        (_, Some(Format::Sse)) => Some(Form::Events),
        (_, Some(Format::Ndjson)) => Some(Form::Lines),
    };
    let seen = seen.filter(|_| form.is_some());
    if seen.as_deref() == Some(END_ID) {
        return Ok((
            StatusCode::NO_CONTENT,
            [(header::CACHE_CONTROL, "no-store")],
        )
            .into_response());
    }
    // The last id that a client received is newer than the one in its URL.
    let place = match &seen {
        Some(id) => Place::seen(id),
        None => query.offset.clone().unwrap_or(Place::Start),
    };
    if place == Place::Now {
        // Only the log knows where that is.
        info = hub.log.info(name).await?;
    }
    let is_event_source = match form {
        Some(Form::Events) => true,
        Some(Form::Protocol) => seen.is_some(),
        Some(Form::Lines | Form::Items(_)) | None => false,
    };
    let lost = match place.find(&info) {
        Ok(_) => None,
        // An error status would stop an `EventSource` for good, and skipping the existing messages
        // would go unnoticed.
        Err(lost) if is_event_source => Some(lost),
        Err(lost) => return Err(lost.problem().into()),
    };
    // Watchers count on the hub that runs the job.
    if let Some(ownership) = &hub.ownership
        && ownership.is_elsewhere()
        && is_watched(&info)
    {
        return Ok(forward::to_owner());
    }
    // Every reader counts as a watcher, even if only for the duration of one read.
    let watch = hub.ingest_jobs.watch(&info);
    if matches!(info.settings.expiry, Some(Expiry::Idle(_))) {
        match hub.log.touch(name).await {
            // It is read as far as it is at hand.
            Err(error) if !error.is_unavailable() => return Err(error.into()),
            _ => {}
        }
    }
    let outgoing = hub.outgoing.of(peer);
    match form {
        Some(form) => {
            let start = Start::of(&info, &place, seen.is_none() && query.since.is_some(), lost);
            let seat = hub.seat(meter)?;
            let held = Held { seat, watch };
            follow(hub, outgoing, &info, form, start, &query, held).await
        }
        None if query.live == Some(Live::LongPoll) => {
            let _seat = hub.seat(meter)?;
            let read = Read {
                hub,
                outgoing,
                watch,
            };
            plain_read::long_poll(read, info, place, &query).await
        }
        None if place == Place::Now => Ok(plain_read::nothing_yet(&info)),
        None => {
            let read = Read {
                hub,
                outgoing,
                watch,
            };
            plain_read::all(read, info, &place, headers).await
        }
    }
}

/// The starting position of a live reader, and its first notice.
struct Start {
    position: Offset,
    /// The stream's start, wherever that is.
    at_floor: bool,
    /// The requested position doesn't fit the stream.
    lost: Option<Lost>,
    /// The request named a time instead of an offset. Only this response can report its position.
    is_moment: bool,
}

impl Start {
    fn of(info: &Info, place: &Place, since: bool, lost: Option<Lost>) -> Self {
        Self {
            position: place.find(info).unwrap_or(info.floor),
            at_floor: *place == Place::Start || lost.is_some(),
            lost,
            is_moment: since || *place == Place::Now,
        }
    }

    /// Returns the event that precedes all others, in the forms for an `EventSource`.
    fn notice(&self, info: &Info, form: Form) -> Option<Bytes> {
        match (form, &self.lost) {
            (Form::Lines | Form::Items(_), _) => None,
            (_, Some(lost)) => Some(encode::reset(lost)),
            // The protocol's first control event contains the position.
            (Form::Protocol, None) => None,
            (Form::Events, None) => self
                .is_moment
                .then(|| encode::position(info.at(self.position))),
        }
    }
}

/// Adds the stream's content type. Anything that a browser would run as a page is an attachment, which it
/// stores instead.
pub(super) fn label(headers: &mut HeaderMap, info: &Info) {
    headers.insert(header::CONTENT_TYPE, content_type(info));
    if is_active(&info.settings.content_type) {
        headers.insert(
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("attachment"),
        );
    }
}

/// A live reader's place, and its watch over an ingest job.
struct Held {
    seat: Seat,
    watch: Option<WatchGuard>,
}

async fn follow(
    hub: &Arc<HubState>,
    outgoing: Outgoing,
    info: &Info,
    form: Form,
    start: Start,
    query: &Query,
    held: Held,
) -> Result<Response, Failure> {
    let options = &hub.options;
    let shape = Shape::of(&info.settings.content_type);
    let tail = match query.live {
        Some(Live::No) => None,
        _ => Some(
            hub.tails
                .of(&hub.log, info, options.limits.shared_bytes)
                .await?,
        ),
    };
    let cycle = Some(options.sse_cycle).filter(|cycle| form == Form::Protocol && !cycle.is_zero());
    let position = start.position;
    let reader = Reader {
        log: Arc::clone(&hub.log),
        outgoing,
        name: info.name.clone(),
        shape,
        form,
        lineage: info.lineage.clone(),
        notice: start.notice(info, form),
        position,
        from_start: start.at_floor,
        tail,
        least_cursor: cursor::least_cursor(query.cursor),
        // Readers that connected together should not all reconnect together.
        until: cycle.map(|cycle| Instant::now() + cycle.mul_f64(0.9 + 0.2 * fastrand::f64())),
        _seat: held.seat,
        _watch: held.watch,
    };
    let format = if form == Form::Lines {
        Wire::Ndjson
    } else {
        Wire::Sse
    };
    let raw = Raw::frames(format, reader.into_stream())
        .heartbeat(options.heartbeat)
        .line_heartbeat(options.line_heartbeat)
        // All checks are done, so the response's head can be sent at once.
        .first_item_wait(std::time::Duration::ZERO);
    let mut response = raw.into_response();
    let headers = response.headers_mut();
    if shape.is_base64(form) {
        headers.insert(
            header_names::STREAM_SSE_DATA_ENCODING,
            HeaderValue::from_static("base64"),
        );
    }
    let at = match form {
        // Its reader counts from here on.
        Form::Lines => info.lineage.counted(position),
        _ => info.at(position),
    };
    headers.insert(header_names::STREAM_NEXT_OFFSET, offset_value(at));
    Ok(response)
}

/// Returns the metadata of a stream, and of a producer that has appended to it.
#[headwater::operation]
pub(crate) async fn stream_info(
    State(hub): State<Arc<HubState>>,
    StreamPath { name, .. }: StreamPath,
    headers: HeaderMap,
    HeadBody(body): HeadBody,
) -> Result<Answer<MetadataByPath>, Failure> {
    let Some(id) = headers::producer_id(&headers)? else {
        return Ok(known(&hub.log.info(&name).await?, body).into());
    };
    // Looked up before the stream, so that the tail isn't older than the producer's state.
    let producer = hub.log.producer(&name, id).await?;
    let mut response = known(&hub.log.info(&name).await?, body);
    let published = producer.map(|known| known.published).unwrap_or_default();
    let headers = response.headers_mut();
    headers.extend(published_headers(&published));
    if let Some(producer) = producer {
        headers.insert(header_names::PRODUCER_EPOCH, producer.epoch.into());
        headers.insert(header_names::PRODUCER_SEQ, producer.seq.into());
    }
    Ok(response.into())
}

fn tail_value(info: &Info) -> HeaderValue {
    offset_value(info.at(info.tail))
}

pub(crate) fn known(info: &Info, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    label(headers, info);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header_names::STREAM_NEXT_OFFSET, tail_value(info));
    if info.closed {
        headers.insert(header_names::STREAM_CLOSED, TRUE);
    }
    close_reason::note(headers, info);
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    match info.settings.expiry {
        Some(Expiry::Idle(span)) => put(header_names::STREAM_TTL, span.as_secs().to_string()),
        Some(Expiry::At(moment)) => put(header_names::STREAM_EXPIRES_AT, time::format(moment)),
        None => {}
    }
    if let Some(age) = info.settings.max_age {
        put(header_names::STREAM_MAX_AGE, age.as_secs().to_string());
    }
    if let Some(bytes) = info.settings.max_bytes {
        put(header_names::STREAM_MAX_BYTES, bytes.to_string());
    }
    if let Some(schema) = &info.settings.schema {
        let encoded = percent_encode(schema, NON_ALPHANUMERIC).to_string();
        if encoded.len() <= SCHEMA_HEADER_BYTES {
            put(header_names::STREAM_SCHEMA, encoded);
        }
    }
    if info.floor > Offset::START {
        put(header_names::STREAM_FLOOR, info.at(info.floor).to_string());
    }
    response
}

/// Deletes a stream and all its messages.
///
/// Forks keep the messages that they share with it, and its path stays reserved until the last fork
/// is deleted.
#[headwater::operation]
pub(crate) async fn delete_stream(
    State(hub): State<Arc<HubState>>,
    path: StreamPath,
) -> Result<Answer<Deletion>, Failure> {
    let deleted = hub.log.delete(&path.name).await;
    hub.ingest_jobs.over(&path.name);
    deleted?;
    Ok(StatusCode::NO_CONTENT.into_response().into())
}
