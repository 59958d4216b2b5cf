//! Feeds: event streams that reconnect and resume after the last id, also after a restart of the
//! hub.

use std::sync::Arc;

use bytes::Bytes;
use headwater_client::Egress;
use headwater_log::{Info, Log, Offset, ReadFrom};
use headwater_wire::Str;
use http::{HeaderMap, HeaderName, Method, header};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Http,
    create::items,
    request::is_incidental,
    upstream::{self, Call, Kind, Upstream, take_up},
};
use crate::{
    fanout::stream::preframed,
    ingest::{Interrupted, Resume},
    limits::UpstreamLimits,
    protocol::header_names,
};

/// Number of a feed's last messages that are searched for ids when it resumes.
const LOOK_BACK: u64 = 256;

/// Number of bytes of these messages that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Headers that never contain credentials.
const HARMLESS: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header_names::LAST_EVENT_ID,
];

/// The call of a feed, from which it resumes after a restart. It is written to disk and therefore
/// has no credentials: a feed that needs any isn't resumed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Again {
    url: String,
    /// Names and values.
    headers: Vec<(String, String)>,
}

impl Again {
    /// Returns `None` if a call can't be repeated, or has a header that may be a credential.
    pub(super) fn of(call: &Call) -> Option<Self> {
        if call.method != Method::GET || !call.reconnect || !call.body.is_empty() {
            return None;
        }
        let mut headers = Vec::new();
        for (name, value) in &call.headers {
            if HARMLESS.contains(name) {
                headers.push((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
            } else if !is_incidental(name) {
                return None;
            }
        }
        Some(Self {
            url: call.url.as_str().to_owned(),
            headers,
        })
    }

    pub(super) fn encode(self) -> Value {
        // A struct of strings always has a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn call(self) -> Option<Call> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.append(HeaderName::try_from(name).ok()?, value.try_into().ok()?);
        }
        Some(Call {
            method: Method::GET,
            url: Url::parse(&self.url).ok()?,
            headers,
            body: Bytes::new(),
            reconnect: true,
        })
    }
}

/// Returns `true` if a response may be a feed.
pub(super) fn is_feed(upstream: &Upstream) -> bool {
    upstream.kind() == Kind::Sse
}

/// Returns the function that resumes feeds after a restart.
pub(crate) fn resume(
    log: Arc<dyn Log>,
    http: Arc<Http>,
    egress: Egress,
    limits: UpstreamLimits,
) -> Resume {
    Box::new(move |Interrupted { info, data }| {
        let (log, http) = (Arc::clone(&log), Arc::clone(&http));
        let (egress, limits) = (egress.clone(), limits.clone());
        Box::pin(async move {
            let call = serde_json::from_value::<Again>(data).ok()?.call()?;
            // The egress rules may be stricter than before.
            egress.check(&call.url).ok()?;
            let client = http.client(&egress).ok()?;
            let seen = seen(&*log, &info).await?;
            let upstream = take_up(client, call, limits, &seen);
            Some(items(upstream))
        })
    })
}

/// Returns the ids of the last events in a feed's stream. `None` if it has messages but none of the
/// last ones has an id, or if the log can't be read.
async fn seen(log: &dyn Log, info: &Info) -> Option<upstream::Resume> {
    let back = Offset::new(info.tail.number().saturating_sub(LOOK_BACK));
    let mut next = back.max(info.floor);
    let mut seen: Vec<Str> = Vec::new();
    while next < info.tail {
        let chunk = log
            .read(&info.name, ReadFrom::At(next), READ_BYTES)
            .await
            .ok()?;
        for message in chunk.messages() {
            let events = preframed::events(&message.bytes);
            seen.extend(
                events
                    .into_iter()
                    .map(|event| event.id)
                    .filter(|id| !id.is_empty()),
            );
        }
        next = chunk.next;
    }
    match seen.pop() {
        None if info.tail > Offset::START => None,
        last => Some(upstream::Resume {
            last_event_id: last.unwrap_or_default(),
            seen,
        }),
    }
}
