//! Responses with a stream's messages in its own type: to a catch-up read, and to a long-poll.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use headwater::StatusCode;
use headwater_log::{Extent, Info, Lineage, ReadFrom};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::timeout;

use super::{cache, read::label};
use crate::{
    error::{Failure, offset_value, temporary},
    fanout::{
        send_budget::Outgoing,
        stream::{CatchUp, PIECE_BYTES, Shape},
    },
    ingest::WatchGuard,
    limits::OUTGOING_PATIENCE,
    protocol::{
        close_reason, cursor, header_names,
        read_query::{Place, Query},
    },
    state::HubState,
};

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// A request that reads a stream.
pub(super) struct Read<'a> {
    pub(super) hub: &'a HubState,
    pub(super) outgoing: Outgoing,
    /// Counts as a watcher until the response ends.
    pub(super) watch: Option<WatchGuard>,
}

/// The messages of a response.
struct Found {
    extent: Extent,
    body: CatchUp,
    /// `true` if the response ends early, as the log isn't available: there may be further messages.
    is_cut: bool,
}

impl Read<'_> {
    async fn at(&self, info: &Info, place: &Place, limit: usize) -> Result<Found, Failure> {
        let from = match place {
            Place::Start => ReadFrom::Start,
            Place::Now => ReadFrom::Tail,
            place => ReadFrom::At(place.find(info).map_err(|lost| lost.problem())?),
        };
        self.from(info, from, limit).await
    }

    /// Reads the first piece of a response of about `limit` bytes, and measures the rest. If the first
    /// message is larger than a chunk, it waits for memory.
    async fn from(&self, info: &Info, from: ReadFrom, limit: usize) -> Result<Found, Failure> {
        let Self { hub, outgoing, .. } = self;
        let turn = outgoing.read_turn().await;
        let chunk = hub.log.read(&info.name, from, limit.min(PIECE_BYTES));
        let chunk = chunk.await?;
        same_stream(info, &chunk.lineage)?;
        let mut extent = chunk.extent();
        let left = (limit as u64).saturating_sub(extent.bytes);
        let mut is_cut = false;
        if !extent.at_tail && left > 0 {
            let next = ReadFrom::At(extent.next);
            match hub.log.measure(&info.name, next, left).await {
                Ok(rest) => {
                    same_stream(info, &rest.lineage)?;
                    extent.extend(&rest);
                }
                // The first piece is here. The rest, if there is one, is for the next request.
                Err(error) if error.is_unavailable() => is_cut = true,
                Err(error) => return Err(error.into()),
            }
        }
        let mut body = CatchUp::new(&hub.log, outgoing, info, &extent);
        match timeout(OUTGOING_PATIENCE, body.put(chunk, None, turn)).await {
            Ok(first) => first?,
            Err(_) => return Err(busy()),
        }
        Ok(Found {
            extent,
            body,
            is_cut,
        })
    }
}

fn busy() -> Failure {
    let detail = "too many large messages are being sent to other readers: try again later";
    Failure::from(temporary(StatusCode::SERVICE_UNAVAILABLE, detail)).with("code", "busy")
}

/// Refuses messages of a new stream with the same name.
fn same_stream(info: &Info, lineage: &Lineage) -> Result<(), Failure> {
    if *lineage == info.lineage {
        return Ok(());
    }
    let detail = "the stream was deleted during the read, and another one of its name exists";
    Err(Failure::new(StatusCode::GONE, detail))
}

/// Returns the stream's metadata, updated if the stream was closed before it was read.
async fn settled(hub: &HubState, info: Info, extent: &Extent) -> Result<Info, Failure> {
    if extent.closed && !info.closed {
        let now = hub.log.info(&info.name).await?;
        same_stream(&now, &extent.lineage)?;
        return Ok(now);
    }
    Ok(info)
}

/// Returns the response to `offset=now`: only the tail.
pub(super) fn nothing_yet(info: &Info) -> Response {
    let body = match Shape::of(&info.settings.content_type) {
        Shape::Json => "[]",
        _ => "",
    };
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    label(headers, info);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header_names::STREAM_UP_TO_DATE, TRUE);
    let tail = offset_value(info.at(info.tail));
    headers.insert(header_names::STREAM_NEXT_OFFSET, tail);
    if info.closed {
        headers.insert(header_names::STREAM_CLOSED, TRUE);
        close_reason::note(headers, info);
    }
    response
}

/// Returns the existing messages, up to the maximum size of a response, or 304 if the client has
/// them.
pub(super) async fn all(
    read: Read<'_>,
    info: Info,
    place: &Place,
    sent: &HeaderMap,
) -> Result<Response, Failure> {
    let hub = read.hub;
    let limit = hub.options.limits.response_bytes;
    let Found {
        extent,
        body,
        is_cut,
    } = read.at(&info, place, limit).await?;
    let info = &settled(hub, info, &extent).await?;
    let etag = cache::etag(info, &extent);
    let judged = etag
        .as_ref()
        .and_then(|etag| cache::precondition(sent, etag));
    if judged == Some(StatusCode::PRECONDITION_FAILED) {
        return Err(Failure::new(
            StatusCode::PRECONDITION_FAILED,
            "the messages aren't those that If-Match names",
        ));
    }
    let mut response = judged.unwrap_or(StatusCode::OK).into_response();
    let is_settled = !(extent.at_tail || is_cut) || extent.closed;
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        cache::control(info, is_settled, hub.options.private),
    );
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(etag) = etag {
        headers.insert(header::ETAG, etag);
    }
    note(headers, info, &extent);
    if response.status() == StatusCode::OK {
        label(response.headers_mut(), info);
        *response.body_mut() = body.watched(read.watch).into_body();
    }
    Ok(response)
}

/// Adds the end of a range of messages.
fn note(headers: &mut HeaderMap, info: &Info, extent: &Extent) {
    headers.insert(
        header_names::STREAM_NEXT_OFFSET,
        offset_value(extent.lineage.at(extent.next)),
    );
    if extent.at_tail {
        headers.insert(header_names::STREAM_UP_TO_DATE, TRUE);
        if extent.closed {
            headers.insert(header_names::STREAM_CLOSED, TRUE);
            close_reason::note(headers, info);
        }
    }
}

/// Returns the next messages. If there are none yet, it waits for some.
pub(super) async fn long_poll(
    read: Read<'_>,
    info: Info,
    place: Place,
    query: &Query,
) -> Result<Response, Failure> {
    let hub = read.hub;
    let limit = hub.options.limits.read_bytes;
    let mut follower = hub.log.follow(&info.name).await?;
    // After the follower was created: appends from now on wake it.
    let mut found = read.at(&info, &place, limit).await?;
    if found.extent.count() == 0 && !found.extent.closed {
        let next = found.extent.next;
        let comes = timeout(hub.options.long_poll, follower.past(next));
        let has_come = tokio::select! {
            waited = comes => waited.is_ok(),
            () = headwater::shutting_down() => false,
        };
        if has_come {
            found = read.from(&info, ReadFrom::At(next), limit).await?;
        }
    }
    let Found { extent, body, .. } = found;
    let info = &settled(hub, info, &extent).await?;
    let is_empty = extent.count() == 0;
    let mut response = if is_empty {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::OK
    }
    .into_response();
    let headers = response.headers_mut();
    note(headers, info, &extent);
    let cursor = cursor::cursor(cursor::least_cursor(query.cursor));
    headers.insert(header_names::STREAM_CURSOR, cursor.into());
    if is_empty {
        headers.insert(header_names::STREAM_UP_TO_DATE, TRUE);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    // The messages after an offset don't change, and the next request has another URL. The position
    // of "now" does change, and so do the messages after a time in the future.
    let control = match place {
        Place::At(_) | Place::First | Place::Start if query.since.is_none() => {
            cache::control(info, true, hub.options.private)
        }
        _ => HeaderValue::from_static("no-store"),
    };
    headers.insert(header::CACHE_CONTROL, control);
    label(headers, info);
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Some(etag) = cache::etag(info, &extent) {
        headers.insert(header::ETAG, etag);
    }
    *response.body_mut() = body.watched(read.watch).into_body();
    Ok(response)
}
