//! `POST /gather`: the hub makes many calls for a client and streams each result as it arrives.
//!
//! `headwater_client::gather` makes the calls. The hub's [upstreams](crate::Options::upstreams) are
//! its egress rules.

mod calls;
mod openapi;
mod params;
mod result;
mod run;
mod stored;

use std::sync::Arc;

use axum::{body::Body, extract::State, response::IntoResponse};
use headwater::{App, Problem, Query, StatusCode, Streaming, post};
use headwater_auth::Action;
use http::HeaderMap;

pub(crate) use self::run::Gathers;
use self::{
    calls::{Calls, ListFormat},
    openapi::{Results, TAG},
    params::Ask,
    run::Run,
    stored::Wanted,
};
use crate::{
    access::{Caller, Guards, Need},
    error::Failure,
    http::openapi::Answer,
    protocol::{
        path::{GATHER, name_of},
        public_url::{self, RequestUrl},
    },
    requests::peer::Sender,
    secret,
    state::HubState,
};

/// Adds the route. `guarded`: there is a secret.
pub(crate) fn routes(
    app: App<Arc<HubState>>,
    guarded: bool,
    guards: &Guards,
) -> App<Arc<HubState>> {
    let route = secret::guard(post(gather).tag(TAG), guarded);
    app.tag(
        TAG,
        "Calls that the hub makes to other hosts for its clients, if its operator allows them.",
    )
    .route(GATHER, guards.needs(Need::Any(Action::Gather), route))
}

/// Makes many calls at once for a client, and streams each result as it arrives.
///
/// The calls are a JSON array, or lines of NDJSON. Calls are made while the rest of the list is
/// still arriving. A line may also be just a URL. A failed call is a failed result and doesn't end
/// the response. Calls to a host that isn't allowed fail; if no host is allowed at all, the
/// response is 403. Headers about a single connection are not forwarded. When the client
/// disconnects, the calls in progress are cancelled.
///
/// Results are sent in the format that the client requests. If the list breaks off or exceeds a
/// limit, the response ends with an error, after the results of the calls before it.
///
/// With `stream`, the results are written to a stream. The response is 202 with its location, sent
/// as soon as the whole list has arrived. Repeating the request makes no calls and has the same
/// response. `DELETE` of the stream cancels the calls that aren't complete.
#[headwater::operation]
async fn gather(
    State(core): State<Arc<HubState>>,
    Query(ask): Query<Ask>,
    url: RequestUrl,
    headers: HeaderMap,
    sender: Sender,
    caller: Caller,
    body: Body,
) -> Result<Answer<Results>, Failure> {
    secret::check(&core.options.upstream, &headers).map_err(Failure::from)?;
    if core.options.upstream.allow.is_empty() {
        return Err(not_allowed());
    }
    let format = ListFormat::of(&headers)?;
    let limits = &core.options.limits;
    let options = ask.options(limits)?;
    if let Some(name) = &ask.stream {
        let name = name_of(name)?;
        caller.check_new(&name)?;
        let wanted = Wanted {
            name,
            options,
            format,
        };
        let path = public_url::of_stream(&core.options, &wanted.name);
        let url = url.beside(GATHER, &core.options, &path);
        let response = stored::start(&core, &url, wanted, &sender, body).await?;
        return Ok(response.into());
    }
    let run = Run::new(&core, sender.peer)?;
    let calls = Calls::new(format, body, limits).into_stream(&run);
    let gather = headwater_client::gather::from_stream(calls);
    let gathered = options.start(gather, &core.gathers.client(&core.options.upstream.allow)?)?;
    let results = run.results(gathered, options.headers);
    Ok(Streaming::try_new(results)
        .heartbeat(core.options.heartbeat)
        .line_heartbeat(core.options.line_heartbeat)
        .into_response()
        .into())
}

/// Returns the refusal of a hub whose configuration allows no upstream.
fn not_allowed() -> Failure {
    let detail = "this hub calls no other host: its operator allows hosts with `headwater serve \
                  --allow-upstream 'https://api.example.com/**'`, `allow` under `[upstream]` in its file, or \
                  `Options::upstreams`";
    Problem::new(StatusCode::FORBIDDEN).detail(detail).into()
}
