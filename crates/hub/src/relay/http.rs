//! The routes `/relay` and `/relay/{id}`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{RawQuery, State},
    response::IntoResponse,
};
use headwater::{App, Path, StatusCode, delete, get, head, patch, post};
use headwater_auth::Action as Grant;
use headwater_log::{Info, Timestamp};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::timeout;

use super::{
    authorize::{self, Action, Signed},
    create::{self, Relay},
    id::RelayId,
    openapi::{self, Abort, Creation, Deletion, RelayMetadata, RelayReading},
    refusal::Refusal,
};
use crate::{
    access::{Caller, Guards, Need},
    http::{openapi::Answer, read},
    protocol::{
        media_type::essence,
        path::RELAY,
        public_url::{self, RequestUrl},
    },
    requests::{
        headers::HeadBody,
        peer::{Peer, Sender},
        rates::Meter,
    },
    secret::guard,
    state::HubState,
};

const SSE: &str = "text/event-stream";

/// Time that an abort waits until the items that arrived are in the stream.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);

/// Adds the routes. `guarded`: there is a secret.
pub(crate) fn routes(
    app: App<Arc<HubState>>,
    guarded: bool,
    guards: &Guards,
) -> App<Arc<HubState>> {
    let needs = |route| guards.needs(Need::Any(Grant::Relay), guard(route, guarded));
    let one = guards
        .needs(Need::OrSigned(Grant::Relay), get(read_relay))
        .merge(needs(head(relay_info)))
        // Authorized by its URL alone.
        .merge(patch(abort_relay))
        .merge(needs(delete(delete_relay)));
    openapi::app(app)
        .route(RELAY, needs(post(create_relay)))
        .route("/relay/{id}", one)
        .route("/relay/{id}/{*rest}", get(nothing).hidden())
}

/// Returns the URL of a path next to the relays.
fn url(hub: &HubState, request: &RequestUrl, path: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(request.beside(RELAY, &hub.options, path)).ok()
}

/// Calls an upstream and stores its response in a stream.
///
/// The response is sent when the upstream's head has arrived, with the URL of the relay in
/// `Location`. Every client that has this URL can read the stream, now or later, and abort the
/// call. The upstream's response is stored with or without readers: SSE event by event, NDJSON line
/// by line, a JSON array element by element, anything else as it arrives. The stream is closed when
/// the upstream's response ends, and closed with an error if it fails. The headers of the request
/// are forwarded to the upstream, except `Authorization`, headers about the connection, and headers
/// that start with `Upstream-`.
#[headwater::operation]
async fn create_relay(
    State(hub): State<Arc<HubState>>,
    request: RequestUrl,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    sender: Sender,
    caller: Caller,
    body: Body,
) -> Result<Answer<Creation>, Refusal> {
    authorize::service(&hub, &headers)?;
    let query = query.unwrap_or_default();
    sender.meter.take_stream()?;
    let made = create::create(&hub, headers, &query, &sender, &caller, body).await;
    if !made.as_ref().is_ok_and(|(_, is_new)| *is_new) {
        sender.meter.give_back_stream();
    }
    let (relay, is_new) = made?;
    let id = relay.id.to_string();
    let now = Timestamp::from(std::time::SystemTime::now());
    let expires = now.after(hub.options.upstream.relay.ttl).0 / 1000;
    let query = hub.relays.signer(&hub).await?.query(&id, expires);
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = status.into_response();
    let headers = response.headers_mut();
    // The URL is a secret.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(url) = url(&hub, &request, &format!("{RELAY}/{id}?{query}")) {
        headers.insert(header::LOCATION, url);
    }
    if let Some(name) = relay.id.public()
        && let Some(url) = url(&hub, &request, &public_url::of_stream(&hub.options, name))
    {
        headers.insert(header::CONTENT_LOCATION, url);
    }
    relay.note(headers);
    Ok(response.into())
}

/// Reads the response of a relay's upstream.
///
/// This is the same as reading any stream, in all its formats, from the start unless `offset` is
/// set.
#[headwater::operation]
async fn read_relay(
    State(hub): State<Arc<HubState>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    peer: Option<Peer>,
    meter: Meter,
    caller: Caller,
) -> Result<Answer<RelayReading>, Refusal> {
    let id = RelayId::parse(&id);
    let query = query.unwrap_or_default();
    let signed = Signed::parse(&query)?;
    let Some(id) = id else {
        authorize::service(&hub, &headers)?;
        return Err(Refusal::no_relay());
    };
    authorize::reader(&hub, &id, &signed, &headers, &caller).await?;
    let (info, relay) = find(&hub, &id).await?.ok_or_else(Refusal::no_relay)?;
    let mut response = read::get(&hub, &info.name, &query, &headers, peer, &meter).await?;
    relay.note(response.headers_mut());
    plain(response.headers_mut(), &info);
    // The URL contains the authorization.
    let control = response.headers().get(header::CACHE_CONTROL);
    let shared = control.and_then(|value| value.to_str().ok()?.strip_prefix("public"));
    if let Some(rest) = shared {
        let value = HeaderValue::try_from(format!("private{rest}"));
        let value = value.unwrap_or(HeaderValue::from_static("no-store"));
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
    Ok(response.into())
}

/// Returns the metadata of a relay's stream.
#[headwater::operation]
async fn relay_info(
    State(hub): State<Arc<HubState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    caller: Caller,
    HeadBody(body): HeadBody,
) -> Result<Answer<RelayMetadata>, Refusal> {
    authorize::service(&hub, &headers)?;
    let id = RelayId::parse(&id).ok_or_else(Refusal::no_relay)?;
    authorize::granted(&id, &caller)?;
    let (info, relay) = find(&hub, &id).await?.ok_or_else(Refusal::no_relay)?;
    let mut response = read::known(&info, body);
    relay.note(response.headers_mut());
    Ok(response.into())
}

/// Aborts the call of a relay.
///
/// The connection to the upstream is closed at once. The items that arrived are in the stream,
/// which is closed with an error for the cancellation. A relay that has ended is not changed.
#[headwater::operation]
async fn abort_relay(
    State(hub): State<Arc<HubState>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Answer<Abort>, Refusal> {
    let query = query.unwrap_or_default();
    let signed = Signed::parse(&query)?;
    // An invalid id can't have been signed.
    let id = RelayId::parse(&id).ok_or_else(Refusal::bad_signature)?;
    authorize::signed(&hub, &id, &signed).await?;
    if Action::parse(&query)?.action.as_deref() != Some("abort") {
        return Err(Refusal::bad_action());
    }
    let (info, _) = find(&hub, &id).await?.ok_or_else(Refusal::no_relay)?;
    // After the timeout it ends nevertheless.
    let _ = timeout(ABORT_PATIENCE, hub.ingest_jobs.cancel(&info.name)).await;
    Ok(StatusCode::NO_CONTENT.into_response().into())
}

/// Deletes a relay: aborts its call and deletes its stream.
///
/// Deleting a relay that doesn't exist is not an error.
#[headwater::operation]
async fn delete_relay(
    State(hub): State<Arc<HubState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Answer<Deletion>, Refusal> {
    authorize::service(&hub, &headers)?;
    let found = match RelayId::parse(&id) {
        Some(id) => {
            authorize::granted(&id, &caller)?;
            find(&hub, &id).await?
        }
        None => None,
    };
    if let Some((info, _)) = found {
        let deleted = hub.log.delete(&info.name).await;
        hub.ingest_jobs.over(&info.name);
        match deleted {
            Err(error) if !error.is_not_found() && !error.is_gone() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response().into())
}

/// Refuses paths below a relay's.
#[headwater::operation]
async fn nothing() -> Refusal {
    Refusal::no_route()
}

/// Returns a relay and its stream, if it exists.
async fn find(hub: &HubState, id: &RelayId) -> Result<Option<(Info, Relay)>, Refusal> {
    match hub.log.info(&id.name()?).await {
        // A stream of this name may belong to another relay by now.
        Ok(info) => Ok(Relay::of(&info)
            .filter(|relay| relay.id == *id)
            .map(|relay| (info, relay))),
        Err(error) if error.is_not_found() || error.is_gone() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Changes the content type of stored event streams to text: clients would take `text/event-stream`
/// for the protocol's own events. The upstream's content type is in a separate header.
fn plain(headers: &mut HeaderMap, info: &Info) {
    // Only live responses have this header, and these consist of the hub's own events.
    let is_live = headers.contains_key("x-accel-buffering");
    let is_events = essence(&info.settings.content_type) == SSE;
    if is_events && !is_live && headers.contains_key(header::CONTENT_TYPE) {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, text);
    }
}
