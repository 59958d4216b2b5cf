//! The bodies of responses, webhooks and wake events, as JSON.

use std::collections::BTreeMap;

use headwater_log::StreamName;
use schemars::JsonSchema;
use serde::Serialize;

use super::engine::Part;
use super::keys::Keys;
use super::limits::SHOWN_BYTES;
use super::refusal::{Limit, Refusal};
use super::request_bodies::Kind;
use super::state::{Link, Subscription, Target};
use crate::protocol::time;

/// Approximate size in bytes of a stream's entry in a response, without its name.
const SHOWN_LINK_BYTES: usize = 96;

/// A subscription.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SubscriptionView {
    /// Its id.
    id: String,
    /// Its id, repeated.
    subscription_id: String,
    /// The way in which workers are woken.
    #[serde(rename = "type")]
    kind: Kind,
    /// The pattern of the streams that it watches.
    pattern: Option<String>,
    /// Its streams in the order of their paths: the ones after the requested path, up to 1,000 of
    /// them and about 256 KiB. While more streams of the pattern have pending messages than can be
    /// tracked, streams without pending messages are left out.
    streams: Vec<LinkView>,
    /// The path after which to continue, if there may be more streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    /// The receiver of wakes.
    webhook: Option<WebhookView>,
    /// The stream that wake events are written to.
    wake_stream: Option<String>,
    /// Time in milliseconds after which a silent worker loses its lease.
    lease_ttl_ms: u64,
    /// The time of its creation (RFC 3339).
    created_at: String,
    /// Its status.
    status: Status,
    /// A description for humans.
    description: Option<String>,
}

/// The status of a subscription.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// There is no failure.
    Active,
    /// The last wake could not be delivered, and will be retried.
    Failed,
}

/// A stream of a subscription.
#[derive(Debug, Serialize, JsonSchema)]
struct LinkView {
    /// Its path, relative to the root of the streams.
    path: String,
    /// The way in which the stream was added to the subscription.
    link_type: LinkType,
    /// The offset up to which the stream is processed.
    acked_offset: String,
}

/// The way in which a stream was added to a subscription.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LinkType {
    /// By the pattern.
    Glob,
    /// By its path.
    Explicit,
}

/// The receiver of wakes.
#[derive(Debug, Serialize, JsonSchema)]
struct WebhookView {
    /// The URL.
    url: String,
    /// The signature by which the receiver authenticates the hub.
    signing: Signing,
}

/// The signature of webhook requests.
#[derive(Debug, Serialize, JsonSchema)]
struct Signing {
    /// The algorithm: `ed25519`.
    alg: &'static str,
    /// The id of the key.
    kid: String,
    /// The URL of the public key.
    jwks_url: String,
}

/// A claimed wake.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Claimed {
    /// The id of the wake.
    wake_id: String,
    /// Its generation.
    generation: u64,
    /// The bearer token with which to acknowledge and release it.
    token: String,
    /// The streams to process.
    streams: Vec<WakeLink>,
    /// Time in milliseconds after which a silent worker loses its lease.
    lease_ttl_ms: u64,
}

/// A stream of a wake.
#[derive(Debug, Serialize, JsonSchema)]
struct WakeLink {
    #[serde(flatten)]
    link: LinkView,
    /// The stream's tail.
    tail_offset: String,
    /// `true` if there are messages between the two offsets.
    has_pending: bool,
}

/// The result of an acknowledgement.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AckView {
    /// `true`: the acknowledgement was accepted.
    pub(super) ok: bool,
    /// `true` if another wake follows at once.
    pub(super) next_wake: bool,
}

/// The body of a webhook request.
#[derive(Debug, Serialize)]
struct Notification<'a> {
    subscription_id: &'a str,
    wake_id: &'a str,
    generation: u64,
    streams: Vec<WakeLink>,
    callback_url: String,
    callback_token: String,
}

/// An event in a wake stream.
#[derive(Debug, Serialize)]
struct WakeEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    subscription_id: &'a str,
    stream: &'a str,
    generation: u64,
    ts: u64,
}

/// The reason for which a request was refused.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ErrorView {
    error: ErrorDetail,
}

/// The reason for which a request was refused.
#[derive(Debug, Serialize, JsonSchema)]
struct ErrorDetail {
    /// One of a fixed set of codes, such as `FENCED`.
    code: &'static str,
    /// The reason in words.
    message: String,
    /// The worker that holds the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_holder: Option<String>,
    /// The generation of that lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    /// The limit that was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
}

impl SubscriptionView {
    pub(super) fn new(id: &str, known: &Subscription, part: Part, base: &str, keys: &Keys) -> Self {
        let (streams, after) = links(known, part);
        let (kind, webhook, wake_stream) = match &known.config.target {
            Target::Webhook(url) => {
                let jwks_url = format!("{base}/__ds/jwks.json");
                let signing = Signing {
                    alg: "ed25519",
                    kid: keys.kid().to_owned(),
                    jwks_url,
                };
                (
                    Kind::Webhook,
                    Some(WebhookView {
                        url: url.clone(),
                        signing,
                    }),
                    None,
                )
            }
            Target::WakeStream(name) => (Kind::PullWake, None, Some(name.to_string())),
        };
        let status = if known.retry_at.is_some() {
            Status::Failed
        } else {
            Status::Active
        };
        Self {
            id: id.to_owned(),
            subscription_id: id.to_owned(),
            kind,
            pattern: known
                .config
                .pattern
                .as_ref()
                .map(|pattern| pattern.as_str().to_owned()),
            streams,
            after: after.map(|name| name.to_string()),
            webhook,
            wake_stream,
            lease_ttl_ms: known.config.lease_ms,
            created_at: time::format(known.created),
            status,
            description: known.config.description.clone(),
        }
    }
}

/// Returns a part of a subscription's streams, and the name after which there may be more.
fn links(known: &Subscription, part: Part) -> (Vec<LinkView>, Option<StreamName>) {
    let Part {
        after,
        until,
        limit,
        matching,
    } = part;
    let own = known.links.page(after.as_ref(), limit + 1);
    let own = own.take_while(|(name, _)| until.as_ref().is_none_or(|until| *name <= until));
    let mut all: BTreeMap<StreamName, Link> = own
        .map(|(name, link)| (name.clone(), link.clone()))
        .collect();
    // While the subscription waits for room, its progress in streams without a link is unknown.
    if known.blocked.is_none() {
        let unlinked = matching.into_iter();
        all.extend(unlinked.filter(|(name, _)| known.links.get(name).is_none()));
    }
    let (mut views, mut left) = (Vec::new(), SHOWN_BYTES);
    let mut last = None;
    for (name, link) in all {
        if views.len() >= limit || left == 0 {
            return (views, last);
        }
        left = left.saturating_sub(SHOWN_LINK_BYTES + name.as_str().len());
        views.push(LinkView::new(&name, &link));
        last = Some(name);
    }
    (views, until)
}

impl LinkView {
    fn new(name: &StreamName, link: &Link) -> Self {
        Self {
            path: name.to_string(),
            link_type: if link.explicit {
                LinkType::Explicit
            } else {
                LinkType::Glob
            },
            acked_offset: link.text(link.acked),
        }
    }
}

/// Returns the streams of the current wake.
fn wake_links(known: &Subscription) -> Vec<WakeLink> {
    let told = known.wake.iter().flat_map(|wake| &wake.snapshot);
    let links = told.filter_map(|(name, ..)| Some((name, known.links.get(name)?)));
    links
        .map(|(name, link)| WakeLink {
            link: LinkView::new(name, link),
            tail_offset: link.text(link.tail),
            has_pending: link.is_pending(),
        })
        .collect()
}

impl Claimed {
    /// Returns `None` if there is no current wake.
    pub(super) fn new(known: &Subscription, token: String) -> Option<Self> {
        Some(Self {
            wake_id: known.wake.as_ref()?.id.clone(),
            generation: known.generation,
            token,
            streams: wake_links(known),
            lease_ttl_ms: known.config.lease_ms,
        })
    }
}

/// Returns the body of the webhook request for the current wake.
pub(super) fn notification(id: &str, known: &Subscription, token: String) -> Option<Vec<u8>> {
    let notification = Notification {
        subscription_id: id,
        wake_id: &known.wake.as_ref()?.id,
        generation: known.generation,
        streams: wake_links(known),
        callback_url: format!("{}/__ds/subscriptions/{}/callback", known.base, segment(id)),
        callback_token: token,
    };
    serde_json::to_vec(&notification).ok()
}

/// Returns the event for the current wake.
pub(super) fn wake_event(id: &str, known: &Subscription, now: u64) -> Option<Vec<u8>> {
    let event = WakeEvent {
        kind: "wake",
        subscription_id: id,
        stream: known.links.first_pending()?.as_str(),
        generation: known.generation,
        ts: now,
    };
    serde_json::to_vec(&event).ok()
}

/// Encodes a text as one segment of a URL's path.
fn segment(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    /// All but RFC 3986's unreserved characters.
    const OTHERS: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, OTHERS).to_string()
}

impl From<&Refusal> for ErrorView {
    fn from(refusal: &Refusal) -> Self {
        let (current_holder, generation) = match refusal {
            Refusal::AlreadyClaimed { holder, generation } => {
                (Some(holder.clone()), Some(*generation))
            }
            _ => (None, None),
        };
        let limit = match refusal {
            Refusal::Limit(Limit { limit, .. }) => Some(*limit),
            _ => None,
        };
        let message = refusal.to_string();
        let code = refusal.code();
        Self {
            error: ErrorDetail {
                code,
                message,
                current_holder,
                generation,
                limit,
            },
        }
    }
}
