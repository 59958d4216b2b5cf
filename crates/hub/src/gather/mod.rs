//! `POST /gather`: calls that a client asks for, made by the hub, and each result as it comes.
//!
//! What makes the calls is `headwater_client::gather`; what they may reach is the hub's
//! [upstreams](crate::Options::upstreams).

mod ask;
mod calls;
mod describe;
mod result;
mod run;
mod stored;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{OriginalUri, State},
    response::{IntoResponse, Response},
};
use headwater::{Problem, Query, StatusCode, Streaming};
use http::{HeaderMap, Uri};

use self::{
    ask::Ask,
    calls::{Calls, ListFormat},
    run::Run,
    stored::Wanted,
};
pub(crate) use self::{
    describe::{TAG, describe},
    run::Gathers,
};
use crate::{
    Core,
    describe::Answer,
    error::Failure,
    origin::{self, Origin},
    path::name_of,
    peer::{Peer, Sender},
    relay,
};

/// Where it is.
pub(crate) const PATH: &str = "/gather";

/// Makes calls for a client, many at once, and answers with each result as it comes.
///
/// The calls are a JSON array, or lines of NDJSON, which are made while the rest is still to come; a line may be a URL, too.
/// One failed call is one failed result, never the end. Calls to a host that isn't allowed fail; where none is allowed
/// at all, the answer is 403. Headers that are about one connection are not passed on. When the client leaves, the
/// calls that are being made are cancelled.
///
/// Results come in the format that the client asks for. A stream that fails (a list that breaks off, or that is over a
/// limit) ends with an error, after the results of what came before.
///
/// With `stream`, the results are written to a stream, and the answer, 202, says where it is as soon as the whole list is
/// there. The same request again calls nothing, and has the same answer. `DELETE` of the stream cancels what isn't done.
#[headwater::operation]
pub(crate) async fn gather(
    State(core): State<Arc<Core>>,
    Query(ask): Query<Ask>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    sender: Sender,
    body: Body,
) -> Answer {
    post(&core, &ask, &uri, &headers, sender.peer, body)
        .await
        .unwrap_or_else(IntoResponse::into_response)
        .into()
}

async fn post(
    core: &Core,
    ask: &Ask,
    uri: &Uri,
    headers: &HeaderMap,
    peer: Option<Peer>,
    body: Body,
) -> Result<Response, Failure> {
    relay::check_secret(core, headers)?;
    if core.options.upstreams.is_empty() {
        return Err(not_allowed());
    }
    let format = ListFormat::of(headers)?;
    let limits = &core.options.limits;
    let options = ask.options(limits)?;
    if let Some(name) = &ask.stream {
        let wanted = Wanted {
            name: name_of(name)?,
            options,
            format,
        };
        let prefix = origin::prefix(uri.path(), PATH);
        let url = Origin::of(uri, headers).stream(&core.options, prefix, &wanted.name);
        return stored::start(core, &url, wanted, peer, body).await;
    }
    let run = Run::new(core, peer)?;
    let calls = Calls::new(format, body, limits).into_stream(&run);
    let gather = headwater_client::gather::from_stream(calls);
    let gathered = options.start(gather, &core.gathers.client(&core.options.upstreams)?)?;
    let results = run.results(gathered, options.headers);
    Ok(Streaming::try_new(results)
        .heartbeat(core.options.heartbeat)
        .line_heartbeat(core.options.line_heartbeat)
        .into_response())
}

/// What a hub says whose configuration allows no upstream.
fn not_allowed() -> Failure {
    let detail = "this hub calls no other host: whoever runs it says which it may, by `headwater serve \
                  --allow-upstream 'https://api.example.com/**'`, `allow` under `[upstream]` in its file, or \
                  `Options::upstreams`";
    Problem::new(StatusCode::FORBIDDEN).detail(detail).into()
}
