//! Feeds: event streams that are asked again for what follows the last id, also after the hub was started anew.

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
    ask::is_incidental,
    create::items,
    upstream::{self, Call, Kind, Upstream, take_up},
};
use crate::{
    filling::{Interrupted, Resume},
    limits::UpstreamLimits,
    live::framed,
    names,
};

/// How many of a feed's last messages are looked through for ids when it is taken up again.
const LOOK_BACK: u64 = 256;

/// How many bytes of them are read at once.
const READ_BYTES: usize = 256 << 10;

/// The headers that are known to hold no credentials.
const HARMLESS: [HeaderName; 4] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    names::LAST_EVENT_ID,
];

/// What it takes to ask a feed again after a restart. It is written to the disk, so that it has no credentials: a feed
/// that needs any is not taken up again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Again {
    url: String,
    /// Names and values.
    headers: Vec<(String, String)>,
}

impl Again {
    /// `None` where a call can't be made again, or with a header that may be a credential.
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
        // A struct of strings has a JSON form.
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

/// Whether an answer may be a feed's.
pub(super) fn is_feed(upstream: &Upstream) -> bool {
    upstream.kind() == Kind::Sse
}

/// Takes feeds up again after a restart.
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
            // What may be reached can be less than it was.
            egress.check(&call.url).ok()?;
            let client = http.client(&egress).ok()?;
            let seen = seen(&*log, &info).await?;
            let content_type = info.settings.content_type;
            let upstream = take_up(client, call, limits, content_type, &seen);
            Some(items(upstream))
        })
    })
}

/// Where a feed's stream ends: the ids of its last events. `None` where there is none, though there are messages.
async fn seen(log: &dyn Log, info: &Info) -> Option<upstream::Resume> {
    let back = Offset::new(info.tail.number().saturating_sub(LOOK_BACK));
    let mut next = back.max(info.floor);
    let mut seen: Vec<Str> = Vec::new();
    while next < info.tail {
        let chunk = log
            .read(&info.name, ReadFrom::At(next), READ_BYTES)
            .await
            .ok()?;
        for message in &chunk.messages {
            let events = framed::events(&message.bytes);
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
