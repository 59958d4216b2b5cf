//! `GET /streams`: which streams there are.

use std::sync::Arc;

use axum::extract::State;
use headwater::{Json, MethodRoute, Problem, Query, operation};
use headwater_log::{Expiry, Info, StreamName, limits::PAGE};
use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Core, describe::TAG, error::problem, subscriptions::is_reserved, time};

/// How many pages of the log one page of a listing is made of, at the most, where the hub's own streams are in between.
const PAGES: usize = 16;

/// Which part of the list is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Ask {
    /// What the paths start with.
    #[serde(default)]
    prefix: String,
    /// The path to go on after: the `after` of the page before.
    after: Option<String>,
    /// How many streams a page has, at the most.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = PAGE))]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

/// Streams in the order of their paths.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Listing {
    /// The streams.
    streams: Vec<StreamView>,
    /// If there may be more: the path to go on after.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// A stream, as it is now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stream")]
struct StreamView {
    /// Its path, from the root of the streams.
    path: String,
    /// What it holds.
    content_type: String,
    /// How many messages can be read.
    messages: u64,
    /// How many bytes of messages it holds. What a fork has from its source is not counted.
    bytes: u64,
    /// The first offset that can be read.
    floor: String,
    /// The offset after all that is in it.
    next_offset: String,
    /// Whether it is closed.
    closed: bool,
    /// When it was created.
    #[schemars(extend("format" = "date-time"))]
    created: String,
    /// When it was last appended to; when it was created, if never.
    #[schemars(extend("format" = "date-time"))]
    appended: String,
    /// When it will end by itself, as things are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires: Option<String>,
    /// After how many seconds without use it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    /// How many seconds a message is kept at the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
    /// How many bytes of messages are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    /// The path of the stream that it is a fork of.
    #[serde(skip_serializing_if = "Option::is_none")]
    forked_from: Option<String>,
}

impl From<Info> for StreamView {
    fn from(info: Info) -> Self {
        let ttl = match info.settings.expiry {
            Some(Expiry::Idle(span)) => Some(span.as_secs()),
            Some(Expiry::At(_)) | None => None,
        };
        Self {
            messages: info.messages(),
            path: info.name.as_str().to_owned(),
            bytes: info.bytes,
            floor: info.at(info.floor).to_string(),
            next_offset: info.at(info.tail).to_string(),
            closed: info.closed,
            created: time::format(info.created),
            appended: time::format(info.appended),
            expires: info.expires.map(time::format),
            ttl,
            max_age: info.settings.max_age.map(|age| age.as_secs()),
            max_bytes: info.settings.max_bytes,
            content_type: info.settings.content_type,
            forked_from: info.fork.map(|fork| fork.source.as_str().to_owned()),
        }
    }
}

/// Describes the route.
pub(crate) fn describe<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("list_streams").tag(TAG).error(
        headwater::StatusCode::BAD_REQUEST,
        "The path to go on after is none",
    )
}

/// Lists streams, by the beginning of their paths.
///
/// They come in the order of their paths, byte by byte, in pages. A page can be shorter than it may be, although there are
/// more: what counts is whether it has `after`.
#[operation]
pub(crate) async fn list(
    State(core): State<Arc<Core>>,
    Query(ask): Query<Ask>,
) -> Result<([(HeaderName, &'static str); 1], Json<Listing>), Problem> {
    let after = ask.after.as_deref().map(StreamName::new).transpose();
    let mut after = after.map_err(|error| Problem::bad_request(format!("after: {error}")))?;
    let limit = usize::try_from(ask.limit).unwrap_or(PAGE);
    let mut streams = Vec::new();
    for _ in 0..PAGES {
        let page = core
            .log
            .list(&ask.prefix, after, limit - streams.len())
            .await;
        let page = page.map_err(problem)?;
        let shown = page
            .streams
            .into_iter()
            .filter(|info| !is_reserved(info.name.as_str()));
        streams.extend(shown.map(StreamView::from));
        after = page.after;
        if after.is_none() || streams.len() >= limit {
            break;
        }
    }
    let after = after.map(|name| name.as_str().to_owned());
    Ok((
        [(header::CACHE_CONTROL, "no-store")],
        Json(Listing { streams, after }),
    ))
}
