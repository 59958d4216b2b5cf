use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use headwater::{Problem, StatusCode};
use headwater_client::{Error, egress::Refused, internals::content_encoding};
use headwater_wire::{DecodeError, causes};
use http::{HeaderMap, header};
use serde_json::Value;

use crate::limits::UpstreamLimits;

/// The reason for which there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The upstream's host has no address that the egress rules allow.
    #[error("the upstream is not called: {0}")]
    Refused(Refused),
    /// The head didn't arrive in time.
    #[error("the upstream did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// It could not be reached, or didn't respond by HTTP.
    #[error("the upstream can't be reached: {0}")]
    Connect(String),
    /// It responded with a redirect, which isn't followed.
    #[error("the upstream answered {status}, and redirects are not followed")]
    Redirect { status: StatusCode },
    /// It responded with an error.
    #[error("the upstream answered {status}")]
    Status {
        status: StatusCode,
        content_type: Option<String>,
        /// The start of the body.
        body: Bytes,
        retry_after: Option<Duration>,
    },
    /// It compressed its response although that was not requested.
    #[error("the upstream's answer is compressed, as {0:?}")]
    Encoded(String),
}

/// The reason for which a response ended early. The items before it are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection broke before the end of the body, or the body ends within an item.
    #[error("the connection broke before the end, or the body ends within an item")]
    Truncated,
    /// Nothing arrived for this long.
    #[error("no data arrived for {} s", .0.as_secs_f32())]
    Idle(Duration),
    /// An item is too large.
    #[error("{place} is larger than the limit of {limit} bytes")]
    ItemTooLarge { limit: usize, place: String },
    /// The body is too large.
    #[error("it is larger than the limit of {limit} bytes")]
    BodyTooLarge { limit: u64 },
    /// The body doesn't match its content type: the location, and what was expected.
    #[error("{0}")]
    Invalid(String),
    /// The upstream, a Headwater server, reported a failure: its problem.
    #[error("it said: {}", said(.0))]
    Reported(Value),
    /// The upstream, a Headwater server, sent a notice about its stream that a relay's items can't
    /// express: the type of that event.
    #[error(
        "it sent the event {0:?}, with which a Headwater server reports that the stream was replaced"
    )]
    Control(String),
    /// A feed reconnected and received a final error.
    #[error("asked to resume, it answered {0}")]
    Status(StatusCode),
    /// A feed reconnected and received another kind of response.
    #[error("asked to resume, it answered with {0}")]
    Changed(String),
    /// Too many attempts of a feed to reconnect failed.
    #[error("asked to resume {attempts} times, it last failed with: {last}")]
    GaveUp { attempts: u32, last: String },
}

/// Returns the message of a problem.
fn said(problem: &Value) -> &str {
    let text = |name| problem.get(name).and_then(Value::as_str);
    text("detail")
        .or(text("title"))
        .unwrap_or("no more than that")
}

impl Fault {
    /// Returns the problem for readers of the stream.
    pub(crate) fn problem(&self) -> Problem {
        let (status, title) = match self {
            Self::Truncated => (502, "The upstream's response was cut off"),
            Self::Idle(_) => (504, "The upstream stopped sending"),
            Self::ItemTooLarge { .. } => (502, "The upstream sent too large an item"),
            Self::BodyTooLarge { .. } => (502, "The upstream sent too much"),
            Self::Invalid(_) => (502, "The upstream sent something invalid"),
            Self::Reported(_) => (502, "The upstream failed"),
            Self::Control(_) => (502, "The upstream's stream has a gap or was replaced"),
            Self::Status(_) | Self::Changed(_) => (502, "The upstream refused to continue"),
            Self::GaveUp { .. } => (502, "The upstream could not be reconnected"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let problem = Problem::new(status).title(title).detail(self.to_string());
        match self {
            Self::ItemTooLarge { limit, .. } => problem.with("limit", *limit),
            Self::BodyTooLarge { limit } => problem.with("limit", *limit),
            Self::Status(status) => problem.with("upstreamStatus", status.as_u16()),
            Self::Reported(reported) => problem.with("upstreamProblem", reported.clone()),
            _ => problem,
        }
    }
}

impl OpenError {
    /// Converts the error of a request without a response. The reason is the innermost cause, which
    /// is the relevant one, without the URL, which may contain a secret.
    pub(super) fn of(error: &Error, limits: &UpstreamLimits) -> Self {
        if error.is_timeout() {
            return Self::Timeout(limits.head_timeout);
        }
        if let Some(refused) = causes::find::<Refused>(error) {
            return Self::Refused(refused.clone());
        }
        Self::Connect(causes::root(error).map_or_else(
            || "the request can't be sent".to_owned(),
            ToString::to_string,
        ))
    }
}

impl Fault {
    /// Converts the error that ended a response. `headers` are those of the newest one.
    pub(super) fn of(error: &Error, headers: &HeaderMap, limits: &UpstreamLimits) -> Self {
        let status = error.status();
        let final_status = status
            .filter(|status| !status.is_server_error() && *status != StatusCode::TOO_MANY_REQUESTS);
        let decoding = error.source().and_then(|cause| cause.downcast_ref());
        if let Some(error) = decoding {
            Self::of_decoder(error, limits.item_bytes)
        } else if error.is_too_large() {
            let limit = limits.total_bytes;
            Self::BodyTooLarge { limit }
        } else if error.is_content_type() {
            Self::Changed(changed(headers))
        } else if let Some(status) = final_status {
            Self::Status(status)
        } else if error.attempts() > 0 {
            let attempts = error.attempts();
            let last = match status {
                Some(status) => status.to_string(),
                None if error.is_timeout() => {
                    format!("no answer within {} s", limits.head_timeout.as_secs_f32())
                }
                None => OpenError::of(error, limits).to_string(),
            };
            Self::GaveUp { attempts, last }
        } else if error.is_timeout() {
            Self::Idle(limits.idle_timeout)
        } else {
            Self::Truncated
        }
    }

    /// Converts the error of a decoder whose items may have `limit` bytes.
    pub(super) fn of_decoder(error: &DecodeError, limit: usize) -> Self {
        if error.is_truncated() {
            Self::Truncated
        } else if error.is_too_large() {
            let place = format!("item {} of the body", error.item());
            Self::ItemTooLarge { limit, place }
        } else {
            Self::Invalid(error.to_string())
        }
    }
}

/// Describes the content of a response that isn't an event stream.
fn changed(headers: &HeaderMap) -> String {
    match content_encoding(headers) {
        Some(encoding) => format!("a body compressed as {encoding:?}"),
        None => {
            let content_type = headers.get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok());
            format!("content of the type {:?}", content_type.unwrap_or_default())
        }
    }
}
