//! `GET /export` and `POST /import`: streams as lines of NDJSON, from one log into another.
//!
//! `line.rs` has the format, `export.rs` writes it, and `import.rs` reads it and restores the streams in the log, each
//! incomplete until its last line was read. So whatever interrupts an import, it can be repeated.

mod export;
mod import;
mod incoming;
pub(crate) mod line;

use std::sync::Arc;

use axum::{body::Body, extract::State, response::IntoResponse};
use headwater::{Json, Query, operation};
use headwater_auth::Action;
use headwater_log::StreamName;
use http::{HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use import::Summary;

use self::{export::Export, import::Import};
use super::openapi::{Answer, ForeignPage, description};
use crate::{
    access::Caller,
    error::Failure,
    permits::Permits,
    protocol::path::{self, RESERVED, is_reserved},
    requests::peer::Sender,
    state::HubState,
};

/// The paths of the endpoints.
pub(crate) const EXPORT: &str = "/export";
pub(crate) const IMPORT: &str = "/import";
/// The tag of the operations.
pub(crate) const TAG: &str = "moving";

/// Returns the permits of exports and imports.
pub(crate) fn permits() -> Permits {
    Permits::new(crate::limits::MOVES, "too_many_moves", |limit| {
        format!("the limit of {limit} exports and imports at once is reached")
    })
}

/// Returns `true` if a stream can be exported and imported. The journal of subscriptions can't: it has positions in the
/// order of its log.
fn is_movable(name: &str) -> bool {
    let own = |prefix: &str| name.strip_prefix(RESERVED)?.strip_prefix(prefix);
    !is_reserved(name) || own("/relay/").or_else(|| own("/filling/")).is_some()
}

/// Returns `true` if the caller may move the hub's own streams. Without authorization no caller may: the ids of relays are
/// secrets, and what the hub stores of its jobs has it make calls.
fn may_move_own(hub: &HubState, caller: &Caller) -> bool {
    hub.access.is_some() && caller.limits(Action::Admin).is_none()
}

/// The streams that are requested.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Wanted {
    /// A prefix of the paths. Without it, the streams of relays are included if the caller may do everything.
    prefix: Option<String>,
    /// The path of the only stream.
    stream: Option<String>,
    /// The path after which to continue.
    after: Option<String>,
}

/// The handling of streams that exist.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Existing {
    /// For a stream that exists and isn't the one of the export: `refuse` ends the import with 409, and `skip` leaves
    /// the stream as it is.
    #[serde(default)]
    existing: IfTaken,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum IfTaken {
    #[default]
    Refuse,
    Skip,
}

description! {
    /// An export.
    pub(crate) Exported
    errors {
        /// The stream doesn't exist
        NOT_FOUND
        /// The path is invalid
        BAD_REQUEST
        /// Too many exports and imports run
        TOO_MANY_REQUESTS
    }
    also |operation: &mut headwater::Operation| operation.raw_reply(
        headwater::StatusCode::OK,
        "application/x-ndjson",
        "The streams, line by line. The last line has `complete`; without it, the export is cut off",
    )
}

description! {
    /// An import.
    pub(crate) Imported: ForeignPage
    replies {
        /// All streams of the body are there
        OK: Summary
    }
    errors {
        /// A line is invalid, or the body ends early; the problem has the line's number. Streams before it are there
        BAD_REQUEST
        /// Another stream exists at a path; the problem has it
        CONFLICT
        /// A line or a message is over the limit
        PAYLOAD_TOO_LARGE
        /// Too many exports and imports run
        TOO_MANY_REQUESTS
        /// The storage is full
        INSUFFICIENT_STORAGE
    }
    also |operation: &mut headwater::Operation| operation.raw_body("*/*")
}

/// Exports streams: their messages, settings, producers and closed states.
///
/// The body is NDJSON, which `POST /import` reads. Each stream is complete up to the tail that it had at one moment, and
/// appends continue meanwhile. Offsets stay valid where the stream is imported. A stream that is deleted during its export is
/// reported as `dropped`.
#[operation]
pub(crate) async fn export_streams(
    State(hub): State<Arc<HubState>>,
    Query(wanted): Query<Wanted>,
    caller: Caller,
) -> Result<Answer<Exported>, Failure> {
    let permit = hub.moves.take()?;
    let name = |text: &str| {
        let name = StreamName::new(text).map_err(Failure::from)?;
        caller.check(Action::Admin, Some(text))?;
        Ok::<_, Failure>(name)
    };
    let only = match &wanted.stream {
        Some(_) if wanted.prefix.is_some() || wanted.after.is_some() => {
            let detail = "`stream` names the only stream, so it excludes `prefix` and `after`";
            return Err(Failure::bad_request(detail));
        }
        Some(stream) => {
            path::name_of(stream)?;
            let name = name(stream)?;
            hub.log.info(&name).await?;
            Some(name)
        }
        None => None,
    };
    let after = wanted.after.as_deref().map(StreamName::new).transpose()?;
    let export = Export::new(&hub, wanted.prefix, only, after, &caller);
    let mut response = Body::from_stream(export.into_stream(permit)).into_response();
    let headers = response.headers_mut();
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    headers.insert(header::CONTENT_TYPE, ndjson);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response.into())
}

/// Imports streams that `GET /export` of this or another hub has written.
///
/// A stream can't be used until its last line was read. If the import is interrupted, repeat it: streams that are
/// complete stay as they are, and an incomplete one continues.
#[operation]
pub(crate) async fn import_streams(
    State(hub): State<Arc<HubState>>,
    Query(ask): Query<Existing>,
    sender: Sender,
    caller: Caller,
    body: Body,
) -> Result<Answer<Imported>, Failure> {
    let _permit = hub.moves.take()?;
    // Lines may arrive at any pace.
    sender.clock.suspend();
    let held = hub.bodies.hold(&hub.options.limits, sender.peer);
    let import = Import::new(&hub, &caller, ask.existing == IfTaken::Skip);
    let summary = Box::pin(import.run(body, held)).await?;
    Ok(Json(summary).into_response().into())
}
