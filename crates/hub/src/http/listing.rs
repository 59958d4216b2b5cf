//! `GET /streams`: the list of streams.

use std::sync::Arc;

use axum::extract::State;
use headwater::{Json, Problem, Query, operation};
use headwater_auth::{Action, Grants};
use headwater_log::{Expiry, Info, Log, StreamName, limits::PAGE};
use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    access::Caller,
    error::problem,
    protocol::{path::is_reserved, time},
    state::HubState,
};

/// Maximum number of pages of the log for one page of the listing, as reserved streams are skipped.
const PAGES: usize = 16;

/// Maximum number of pages of streams that are skipped because they aren't granted.
const HIDDEN_PAGES: usize = 100;

/// The part of the list that is requested.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Ask {
    /// A prefix of the paths.
    #[serde(default)]
    prefix: String,
    /// The path after which to continue: the `after` of the previous page.
    after: Option<String>,
    /// Maximum number of streams in a page.
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
    /// The path after which to continue, if there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// The current state of a stream.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stream")]
struct StreamView {
    /// Its path, relative to the root of the streams.
    path: String,
    /// Its content type.
    content_type: String,
    /// Number of messages that can be read.
    messages: u64,
    /// Number of bytes of its messages. Messages that a fork shares with its source are not
    /// counted.
    bytes: u64,
    /// The first offset that can be read.
    floor: String,
    /// The tail: the offset after the last message.
    next_offset: String,
    /// `true` if it is closed.
    closed: bool,
    /// The time of its creation.
    #[schemars(extend("format" = "date-time"))]
    created: String,
    /// The time of the last append, or of its creation if there was none.
    #[schemars(extend("format" = "date-time"))]
    appended: String,
    /// The time at which it will expire, as of now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires: Option<String>,
    /// Number of seconds without use after which it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    /// Minimum number of seconds for which a message is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
    /// Maximum number of bytes of messages that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    /// The path of the fork's source.
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

/// Lists streams by a prefix of their paths.
///
/// Streams are paged in the order of their paths, byte by byte. A page may be shorter than `limit`
/// although there are more streams; only a page without `after` is the last one.
#[operation]
pub(crate) async fn list_streams(
    State(hub): State<Arc<HubState>>,
    Query(ask): Query<Ask>,
    caller: Caller,
) -> Result<([(HeaderName, &'static str); 1], Json<Listing>), Problem> {
    let after = ask.after.as_deref().map(StreamName::new).transpose();
    let after = after.map_err(|error| Problem::bad_request(format!("after: {error}")))?;
    let limit = usize::try_from(ask.limit).unwrap_or(PAGE);
    let listing = match caller.limits(Action::List) {
        None => all(&*hub.log, &ask.prefix, after, limit).await?,
        Some(grants) => granted(&*hub.log, &ask.prefix, after, limit, &grants).await?,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(listing)))
}

/// Lists streams for a caller that may see all of them.
async fn all(
    log: &dyn Log,
    prefix: &str,
    mut after: Option<StreamName>,
    limit: usize,
) -> Result<Listing, Problem> {
    let mut streams = Vec::new();
    for _ in 0..PAGES {
        let page = log.list(prefix, after, limit - streams.len()).await;
        let page = page.map_err(problem)?;
        let shown = page.streams.into_iter();
        let shown = shown.filter(|info| !is_reserved(info.name.as_str()));
        streams.extend(shown.map(StreamView::from));
        after = page.after;
        if after.is_none() || streams.len() >= limit {
            break;
        }
    }
    let after = after.map(|name| name.as_str().to_owned());
    Ok(Listing { streams, after })
}

/// Lists the streams that are granted. The name after which to continue is one of them, as the caller
/// may not see others.
async fn granted(
    log: &dyn Log,
    prefix: &str,
    mut after: Option<StreamName>,
    limit: usize,
    grants: &Grants,
) -> Result<Listing, Problem> {
    let is_granted = |name: &str| grants.allows(Action::List, Some(name));
    let mut streams = Vec::<StreamView>::new();
    let mut is_more = false;
    let mut pages = 0;
    for prefix in prefixes(prefix, grants) {
        loop {
            let page = log.list(prefix, after.clone(), PAGE).await;
            let page = page.map_err(problem)?;
            let shown = page.streams.into_iter().filter(|info| {
                let name = info.name.as_str();
                !is_reserved(name) && is_granted(name)
            });
            streams.extend(shown.map(StreamView::from));
            pages += 1;
            let is_end = page.after.is_none();
            after = page.after.or(after);
            if streams.len() > limit || (pages >= PAGES && !streams.is_empty()) {
                is_more = true;
                break;
            }
            if is_end {
                break;
            }
            if pages >= HIDDEN_PAGES {
                let detail = "too many streams precede the first one that the credentials grant: name a `prefix`";
                return Err(Problem::bad_request(detail));
            }
        }
        if is_more {
            break;
        }
    }
    streams.truncate(limit);
    for stream in &mut streams {
        stream.forked_from.take_if(|source| !is_granted(source));
    }
    let last = streams.last().filter(|_| is_more);
    let after = last.map(|stream| stream.path.clone());
    Ok(Listing { streams, after })
}

/// Returns the prefixes of all names with the prefix `asked` that may be granted, in order. None begins
/// with another one.
fn prefixes<'a>(asked: &'a str, grants: &'a Grants) -> Vec<&'a str> {
    let patterns = grants.patterns(Action::List);
    let within = patterns.filter_map(|pattern| match pattern.prefix() {
        own if own.starts_with(asked) => Some(own),
        own if asked.starts_with(own) => Some(asked),
        _ => None,
    });
    let mut prefixes: Vec<_> = within.collect();
    prefixes.sort_unstable();
    prefixes.dedup_by(|later, earlier| later.starts_with(*earlier));
    prefixes
}

#[cfg(test)]
mod tests {
    use headwater_auth::Grant;

    use super::*;

    #[track_caller]
    fn check(asked: &str, grants: &[&str], expected: &[&str]) {
        let grants = grants.iter().map(|text| text.parse::<Grant>().unwrap());
        let grants = Grants::new(grants.collect()).unwrap();
        assert_eq!(prefixes(asked, &grants), expected);
    }

    #[test]
    fn only_names_that_may_be_granted_are_looked_at() {
        check("", &["list:a/*,c/**", "read:b/**"], &["a/", "c"]);
        check("a/b", &["list:a/*,c/**"], &["a/b"]);
        check("d", &["list:a/*"], &[]);
        check("", &["list:a/b/*,a/**,a/c"], &["a"]);
        check("a", &["list:*/x,a/b"], &["a"]);
        check("x", &["list:**"], &["x"]);
    }
}
