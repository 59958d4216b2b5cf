//! Creates or joins a relay (§4.1, §8).

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use headwater_auth::Action;
use headwater_log::{Expiry, Info, Settings, StreamName, limits::CONTENT_TYPE_BYTES};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{
    feed,
    id::RelayId,
    refusal::Refusal,
    request::{Ask, Join},
    signer::Signer,
    single_flight::Outcome,
    upstream::{Call, Upstream, open},
};
use crate::{
    access::Caller,
    ingest::{self, IngestRequest, Source},
    protocol::{header_names, media_type::essence, path},
    requests::{
        body::{self, Held},
        peer::Sender,
    },
    state::HubState,
};

/// The content type of the stream if the upstream's isn't known.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// An existing relay.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    /// The content type of the stream.
    pub(super) content_type: String,
    /// `true` if the upstream's content type isn't known.
    untyped: bool,
}

impl Relay {
    /// Adds the upstream's content type, if it is known (§4.2, §4.4).
    pub(super) fn note(&self, headers: &mut HeaderMap) {
        if !self.untyped
            && let Ok(value) = HeaderValue::try_from(&self.content_type)
        {
            headers.insert(header_names::UPSTREAM_CONTENT_TYPE, value);
        }
    }

    /// Returns the relay that fills a stream, if one does.
    pub(super) fn of(info: &Info) -> Option<Self> {
        let note = Note::of(info)?;
        Some(Self {
            id: RelayId::of(&note.relay, &info.name),
            content_type: info.settings.content_type.clone(),
            untyped: note.untyped,
        })
    }
}

/// The note of a relay's stream.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The first part of the relay's id.
    relay: String,
    /// The request's fingerprint.
    request: String,
    /// `true` if the upstream's content type isn't known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untyped: bool,
}

impl Note {
    fn of(info: &Info) -> Option<Self> {
        serde_json::from_value(ingest::note(info)?).ok()
    }
}

/// A call to make unless an equal one was made.
pub(super) struct Plan {
    ask: Ask,
    body: Bytes,
    /// Accounts for the body in the budget for bodies.
    held: Held,
    id: RelayId,
    name: StreamName,
    request: String,
    /// The stream's expiry.
    expiry: Option<Expiry>,
}

/// Processes a request. Also returns `true` if the call was made for it.
pub(super) async fn create(
    hub: &Arc<HubState>,
    headers: HeaderMap,
    query: &str,
    sender: &Sender,
    caller: &Caller,
    body: Body,
) -> Result<(Relay, bool), Refusal> {
    let ask = Ask::read(headers, query)?;
    if let Some(name) = &ask.stream {
        caller.check(Action::Relay, Some(name.as_str()))?;
        caller.check_new(name)?;
    }
    let allowed = hub.options.upstream.allow.check(&ask.url);
    allowed.map_err(|refused| Refusal::not_allowed(refused.to_string()))?;
    let mut held = hub.bodies.hold(&hub.options.limits, sender.peer);
    let body = body::whole(body, &hub.options.limits, &mut held).await?;
    let expiry = Expiry::Idle(ask.ttl.unwrap_or(hub.options.upstream.relay.ttl));
    let plan = Plan::new(hub.relays.signer(hub).await?, ask, body, held, expiry)?;
    if plan.ask.join == Join::Never && plan.ask.stream.is_none() {
        // No other client can wait for this call: it ends if its client leaves before the stream
        // exists.
        return Ok((make(Arc::clone(hub), plan).await?, true));
    }
    begin(hub, plan).await
}

/// Creates a relay that other requests may share, or joins it. Also returns `true` if it was
/// created now.
pub(super) async fn begin(hub: &Arc<HubState>, plan: Plan) -> Result<(Relay, bool), Refusal> {
    let (name, request) = (plan.name.clone(), plan.request.clone());
    let conflict = plan.conflict();
    let mut is_first = false;
    let work = || {
        is_first = true;
        join_or_make(Arc::clone(hub), plan)
    };
    let outcome = hub.relays.single_flight.join(&name, &request, work).await;
    let (relay, is_new) = outcome.ok_or(conflict)??;
    Ok((relay, is_new && is_first))
}

impl Plan {
    fn new(
        signer: &Signer,
        ask: Ask,
        body: Bytes,
        held: Held,
        expiry: Expiry,
    ) -> Result<Self, Refusal> {
        let request = ask.fingerprint(signer, &body);
        let stream = ask.stream.as_ref().map_or("", StreamName::as_str);
        let secret = match &ask.join {
            Join::Never => Signer::random()?,
            Join::Key(key) => signer.secret(&[b"key", key.as_bytes(), stream.as_bytes()]),
            Join::Request => signer.secret(&[b"request", request.as_bytes(), stream.as_bytes()]),
        };
        let id = RelayId::new(secret, ask.stream.clone());
        Ok(Self {
            name: id.name()?,
            ask,
            body,
            held,
            id,
            request,
            expiry: Some(expiry),
        })
    }

    /// Plans the call of a handler in the hub's own process. It is identified by its stream's name
    /// and by `request`.
    pub(super) fn of_handler(
        ask: Ask,
        body: Bytes,
        held: Held,
        expiry: Option<Expiry>,
        request: &str,
    ) -> Result<Self, Refusal> {
        let id = RelayId::new(Signer::random()?, ask.stream.clone());
        Ok(Self {
            name: id.name()?,
            ask,
            body,
            held,
            id,
            request: request.to_owned(),
            expiry,
        })
    }

    /// Returns the refusal for a relay that belongs to another request.
    fn conflict(&self) -> Refusal {
        match self.ask.join {
            Join::Never => Refusal::stream_taken(),
            Join::Key(_) | Join::Request => Refusal::other_request(),
        }
    }

    /// Returns the relay to join, if it exists.
    async fn known(&self, hub: &HubState) -> Result<Option<Relay>, Refusal> {
        let info = match hub.log.info(&self.name).await {
            Ok(info) => info,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if error.is_gone() => return Err(Refusal::stream_taken()),
            Err(error) => return Err(error.into()),
        };
        self.joins(&info).map(Some)
    }

    /// Checks that a stream is the one that this plan would create.
    fn joins(&self, info: &Info) -> Result<Relay, Refusal> {
        let note = Note::of(info).ok_or_else(Refusal::stream_taken)?;
        // A public stream is joined by its name alone, with any key.
        if self.ask.join != Join::Never && note.relay != self.id.secret() {
            return Err(Refusal::stream_taken());
        }
        if note.request != self.request {
            return Err(self.conflict());
        }
        Relay::of(info).ok_or_else(Refusal::stream_taken)
    }
}

async fn join_or_make(hub: Arc<HubState>, plan: Plan) -> Outcome {
    match plan.known(&hub).await? {
        Some(relay) => Ok((relay, false)),
        None => make(hub, plan).await.map(|relay| (relay, true)),
    }
}

/// Calls the upstream and, when it has responded, starts an ingest job for its response.
async fn make(hub: Arc<HubState>, plan: Plan) -> Result<Relay, Refusal> {
    // Before the call, as a call can't be undone.
    path::check_new(&plan.name)?;
    let place = hub.ingest_jobs.reserve();
    let place = place.map_err(|problem| Refusal::storage(&problem))?;
    let Plan {
        ask,
        body,
        held,
        id,
        name,
        request,
        expiry,
    } = plan;
    let http = hub.relays.http();
    let client = http.client(&hub.options.upstream.allow).map_err(|error| {
        tracing::error!(%error, "upstreams can't be called");
        Refusal::unavailable()
    })?;
    let call = Call {
        method: ask.method,
        url: ask.url,
        headers: ask.headers,
        body,
        reconnect: ask.feed,
    };
    let again = feed::Again::of(&call);
    let upstream = open(client, call, hub.options.upstream.relay.limits.clone()).await?;
    drop(held);
    let content_type = upstream.content_type().and_then(content_type);
    let untyped = content_type.is_none();
    let mut settings = Settings::of_type(content_type.as_deref().unwrap_or(DEFAULT_TYPE));
    settings.expiry = expiry;
    let note = Note {
        relay: id.secret().to_owned(),
        request,
        untyped,
    };
    let fill = IngestRequest::new(name, settings)
        // A struct of strings always has a JSON form.
        .note(serde_json::to_value(&note).unwrap_or_default())
        .keep_for(ask.keep_for)
        .resume(
            again
                .filter(|_| feed::is_feed(&upstream))
                .map(feed::Again::encode),
        )
        .with_permit(place);
    let started = hub.ingest_jobs.start(fill, move || items(upstream)).await;
    let started = started.map_err(|problem| Refusal::storage(&problem))?;
    // The request that starts a relay reads nothing.
    if let Some(watch) = started.watch {
        watch.cancel();
    }
    if !started.is_new {
        // A stream of that name was created since the lookup.
        return Err(Refusal::stream_taken());
    }
    Ok(Relay {
        id,
        content_type: started.info.settings.content_type,
        untyped,
    })
}

/// Returns the items of an upstream's response, as messages.
pub(super) fn items(upstream: Upstream) -> Source {
    let items = upstream.into_items();
    Box::pin(items.map(|item| item.map(|item| item.bytes).map_err(|fault| fault.problem())))
}

/// Returns the upstream's content type as that of the stream, unless it is too long.
fn content_type(said: &str) -> Option<String> {
    if said.len() <= CONTENT_TYPE_BYTES {
        return Some(said.to_owned());
    }
    let essence = essence(said);
    (essence.len() <= CONTENT_TYPE_BYTES).then(|| essence.into_owned())
}
