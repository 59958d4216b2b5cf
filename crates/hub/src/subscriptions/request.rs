//! Parsing and validation of requests.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use headwater::{Operation, OperationInput};
use headwater_log::StreamName;
use http::{header, request::Parts};

use super::limits::{ID_BYTES, LEASE_DEFAULT};
use super::options::SubscriptionOptions;
use super::refusal::Refusal;
use super::request_bodies::{Kind, NewSubscription, Progress, StreamAck};
use super::state::{Ack, Acked, Config, Target};
use super::webhooks;
use headwater_auth::StreamPattern as Pattern;

use crate::protocol::headers;
use crate::protocol::path::{self, RESERVED};
use crate::protocol::public_url::{self, Origin};
use crate::protocol::read_query::Place;

/// The URL of the streams' root, as the client of this request reaches it.
#[derive(Clone, Debug)]
pub(super) struct Base {
    origin: Origin,
    /// The path of the streams' root, without a trailing slash.
    root: String,
}

/// A token from the `Authorization` header, if there is one such header (RFC 6750 §2.1).
#[derive(Debug)]
pub(super) struct Bearer(pub(super) Option<String>);

impl Base {
    /// Returns the URL of the streams' root.
    pub(super) fn url(&self, options: &SubscriptionOptions) -> String {
        // A webhook's receiver has no base to which a reference could be relative.
        self.origin
            .absolute(options.public_url.as_deref(), &self.root)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Base {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let uri = public_url::uri(parts);
        let end = uri
            .path()
            .find(&format!("/{RESERVED}/"))
            .unwrap_or_default();
        let root = uri.path()[..end].to_owned();
        Ok(Self {
            origin: Origin::of_request(parts),
            root,
        })
    }
}

impl OperationInput for Base {
    fn describe(_: &mut Operation) {}
}

impl<S: Send + Sync> FromRequestParts<S> for Bearer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = headers::one(&parts.headers, &header::AUTHORIZATION);
        let token = value.ok().flatten().and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.trim().to_owned())
        });
        Ok(Self(token))
    }
}

impl OperationInput for Bearer {
    fn describe(operation: &mut Operation) {
        operation.security(super::http::WAKE_TOKEN);
    }
}

/// Parses a subscription's id.
pub(super) fn id(text: &str) -> Result<Arc<str>, Refusal> {
    if text.is_empty() || text.len() > ID_BYTES || text.chars().any(char::is_control) {
        let why = format!("an id has 1 to {ID_BYTES} bytes, and no control characters");
        return Err(Refusal::Invalid(why));
    }
    Ok(text.into())
}

/// Parses the path of a stream, relative to the root of the streams.
pub(super) fn stream(text: &str) -> Result<StreamName, Refusal> {
    let path = text.strip_prefix('/').unwrap_or(text);
    path::name_of(path).map_err(|problem| Refusal::Invalid(format!("{text:?}: {problem}")))
}

/// Parses paths of streams. Returns them sorted and without duplicates.
pub(super) fn streams(paths: &[String]) -> Result<Vec<StreamName>, Refusal> {
    let mut names = paths
        .iter()
        .map(|path| stream(path))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Validates a request's configuration of a subscription.
pub(super) fn config(
    wanted: NewSubscription,
    options: &SubscriptionOptions,
) -> Result<Config, Refusal> {
    let pattern = match wanted.pattern.as_deref() {
        None | Some("") => None,
        Some(text) => {
            let text = text.strip_prefix('/').unwrap_or(text);
            path::check_pattern(text).map_err(Refusal::Invalid)?;
            let pattern = Pattern::new(text);
            Some(pattern.map_err(|error| Refusal::Invalid(error.to_string()))?)
        }
    };
    let streams = streams(&wanted.streams.unwrap_or_default())?;
    if pattern.is_none() && streams.is_empty() {
        return Err(Refusal::Invalid(
            "a pattern or streams are required".to_owned(),
        ));
    }
    let target = match (wanted.kind, wanted.webhook, wanted.wake_stream) {
        (Kind::Webhook, Some(webhook), _) => {
            webhooks::check(&webhook.url, options.loopback_webhooks)
                .map_err(Refusal::WebhookUrl)?;
            // Stored as received: the client's own spelling is compared and shown.
            Target::Webhook(webhook.url)
        }
        (Kind::PullWake, _, Some(name)) => Target::WakeStream(stream(&name)?),
        (Kind::Webhook, None, _) => {
            return Err(Refusal::Invalid(
                "a webhook with its url is required".to_owned(),
            ));
        }
        (Kind::PullWake, _, None) => {
            return Err(Refusal::Invalid("a wake_stream is required".to_owned()));
        }
    };
    let default = u64::try_from(LEASE_DEFAULT.as_millis()).unwrap_or(u64::MAX);
    Ok(Config {
        pattern,
        streams,
        target,
        lease_ms: wanted.lease_ttl_ms.unwrap_or(default),
        description: wanted.description,
    })
}

/// Parses an acknowledgement.
pub(super) fn ack(progress: Progress) -> Result<Ack, Refusal> {
    let cursor = |StreamAck {
                      stream: path,
                      offset,
                  }: StreamAck| {
        let at = match Place::parse(&offset) {
            Ok(Place::Start | Place::First) => Acked::Start,
            Ok(Place::At(mark)) => Acked::At(mark),
            Ok(Place::Now | Place::Unknown(_)) | Err(_) => {
                let why = format!("{offset:?} is not an offset from this server");
                return Err(Refusal::InvalidOffset(why));
            }
        };
        Ok((stream(&path)?, at))
    };
    Ok(Ack {
        wake_id: progress.wake_id,
        generation: progress.generation,
        acks: progress
            .acks
            .into_iter()
            .map(cursor)
            .collect::<Result<_, Refusal>>()?,
        done: progress.done,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn base(path: &str, headers: &[(&str, &str)]) -> String {
        let request = headers
            .iter()
            .fold(Request::get(path), |request, (name, value)| {
                request.header(*name, *value)
            });
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let Ok(base) = Base::from_request_parts(&mut parts, &()).await;
        base.url(&SubscriptionOptions::default())
    }

    #[tokio::test]
    async fn the_root_is_taken_from_the_request() {
        let path = "/v1/stream/__ds/subscriptions/__ds";
        assert_eq!(
            base(path, &[("host", "a:8000")]).await,
            "http://a:8000/v1/stream"
        );
        let forged = [("host", "a"), ("x-forwarded-proto", "https")];
        assert_eq!(base("/__ds/jwks.json", &forged).await, "http://a");
    }

    #[test]
    fn the_length_of_an_id_is_limited() {
        assert!(id(&"a".repeat(ID_BYTES)).is_ok());
        for bad in ["", "a\nb", &"a".repeat(ID_BYTES + 1)] {
            assert!(matches!(id(bad), Err(Refusal::Invalid(_))), "{bad:?}");
        }
    }

    fn wanted(json: &str) -> Result<Config, Refusal> {
        config(
            serde_json::from_str(json).unwrap(),
            &SubscriptionOptions::default(),
        )
    }

    #[test]
    fn equivalent_requests_have_the_same_configuration() {
        let one = wanted(
            r#"{"type":"pull-wake","streams":["b","/a","b"],"wake_stream":"w","lease_ttl_ms":30000}"#,
        );
        let other = wanted(r#"{"type":"pull-wake","streams":["a","b"],"wake_stream":"/w"}"#);
        assert_eq!(one.unwrap().digest(), other.unwrap().digest());
    }

    #[test]
    fn different_requests_have_different_configurations() {
        let all = [
            r#"{"type":"pull-wake","streams":["a"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":["a"],"wake_stream":"v"}"#,
            r#"{"type":"pull-wake","streams":["a","b"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","pattern":"a","wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":["a"],"wake_stream":"w","lease_ttl_ms":1000}"#,
            r#"{"type":"pull-wake","streams":["a"],"wake_stream":"w","description":"x"}"#,
            #[cfg(feature = "webhooks")]
            r#"{"type":"webhook","streams":["a"],"webhook":{"url":"https://x.example/"}}"#,
        ];
        let mut digests: Vec<_> = all
            .iter()
            .map(|json| wanted(json).unwrap().digest())
            .collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn a_subscription_without_streams_or_target_is_refused() {
        for bad in [
            r#"{"type":"pull-wake","wake_stream":"w"}"#,
            r#"{"type":"pull-wake","pattern":"a*","wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":["__ds/journal/x"],"wake_stream":"w"}"#,
            r#"{"type":"pull-wake","streams":["a"],"wake_stream":"__ds/x"}"#,
            r#"{"type":"pull-wake","streams":["a"]}"#,
            r#"{"type":"webhook","streams":["a"]}"#,
            r#"{"type":"webhook","streams":["a//b"],"webhook":{"url":"https://x.example/"}}"#,
        ] {
            assert!(matches!(wanted(bad), Err(Refusal::Invalid(_))), "{bad}");
        }
        let local = r#"{"type":"webhook","streams":["a"],"webhook":{"url":"http://127.0.0.1/"}}"#;
        assert!(matches!(wanted(local), Err(Refusal::WebhookUrl(_))));
    }
}
