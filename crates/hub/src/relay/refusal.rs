//! Error responses of relays (§11): `{"error": {"code": …, "message": …}}`, with the members of a
//! problem in addition.

use std::{borrow::Cow, fmt::Display};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use headwater::{Problem, StatusCode};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::upstream::OpenError;
use crate::{access, error::Failure, protocol::header_names, secret::Denied};

/// The reason for which a request to a relay was refused.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RelayError")]
pub(super) struct ErrorView {
    error: Coded,
    #[schemars(with = "Option<String>")]
    title: Value,
    status: u16,
    #[schemars(with = "Option<String>")]
    detail: Value,
    /// Further members of the problem.
    #[serde(flatten)]
    #[schemars(skip)]
    members: Map<String, Value>,
}

/// The kind and description of an error.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RelayErrorCode")]
struct Coded {
    /// The kind of refusal: `UPSTREAM_NOT_ALLOWED`, `SIGNATURE_EXPIRED`, …
    code: Cow<'static, str>,
    message: String,
}

/// The reason for which a request was refused. It can be cloned for several clients that share a
/// call.
#[derive(Clone, Debug)]
pub(super) struct Refusal(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    /// Further members of the problem.
    members: Map<String, Value>,
    headers: HeaderMap,
    /// The upstream's body, which replaces all of that.
    body: Option<Bytes>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code: code.into(),
            message: message.into(),
            members: Map::new(),
            headers: HeaderMap::new(),
            body: None,
        }))
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Returns the code, unless it is a problem's own.
    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        match self.0.code {
            Cow::Borrowed(code) => code,
            Cow::Owned(_) => "",
        }
    }

    /// Converts the refusal to a problem, for a handler. The upstream's body is left out, as it may
    /// be long and secret.
    pub(super) fn into_problem(self) -> Problem {
        let Inner {
            status,
            message,
            headers,
            ..
        } = *self.0;
        let said = headers.get(header_names::UPSTREAM_STATUS);
        match said.and_then(|status| status.to_str().ok()?.parse::<u16>().ok()) {
            // The handler has named the upstream: a redirect isn't its client's fault either.
            Some(said) => Problem::new(StatusCode::BAD_GATEWAY)
                .detail(message)
                .with("upstream_status", said),
            None => Problem::new(status).detail(message),
        }
    }

    pub(super) fn missing_url() -> Self {
        let message = "the header Upstream-URL, the URL to call, is missing";
        Self::new(StatusCode::BAD_REQUEST, "MISSING_UPSTREAM_URL", message)
    }

    pub(super) fn missing_method() -> Self {
        let message = "the header Upstream-Method, the method of the call, is missing";
        Self::new(StatusCode::BAD_REQUEST, "MISSING_UPSTREAM_METHOD", message)
    }

    pub(super) fn bad_url(why: impl Display) -> Self {
        let message = format!("Upstream-URL is an absolute URL, https://…: {why}");
        Self::new(StatusCode::BAD_REQUEST, "INVALID_UPSTREAM_URL", message)
    }

    pub(super) fn bad_method() -> Self {
        let message = "Upstream-Method is one of GET, POST, PUT, PATCH and DELETE, in capitals";
        Self::new(StatusCode::BAD_REQUEST, "INVALID_UPSTREAM_METHOD", message)
    }

    pub(super) fn bad_action() -> Self {
        let message = "the only action is action=abort";
        Self::new(StatusCode::BAD_REQUEST, "INVALID_ACTION", message)
    }

    pub(super) fn missing_signature() -> Self {
        let message =
            "this needs the whole URL from the relay's creation: expires and signature are missing";
        Self::new(StatusCode::UNAUTHORIZED, "MISSING_SIGNATURE", message)
    }

    pub(super) fn bad_signature() -> Self {
        let message = "the signature doesn't match this URL";
        Self::new(StatusCode::UNAUTHORIZED, "SIGNATURE_INVALID", message)
    }

    pub(super) fn expired() -> Self {
        let message = "the URL has expired";
        Self::new(StatusCode::UNAUTHORIZED, "SIGNATURE_EXPIRED", message)
    }

    pub(super) fn not_allowed(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "UPSTREAM_NOT_ALLOWED", why)
    }

    pub(super) fn no_relay() -> Self {
        let message = "the relay doesn't exist";
        Self::new(StatusCode::NOT_FOUND, "STREAM_NOT_FOUND", message)
    }

    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing here")
    }

    pub(super) fn unavailable() -> Self {
        let message = "the hub can't do this now";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    /// The key, or the stream's name, was used for another request.
    pub(super) fn other_request() -> Self {
        let message = "the key was used with another request: method, URL, headers or body differ";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "KEY_REUSED", message)
    }

    pub(super) fn stream_taken() -> Self {
        let message = "a stream of that name exists, and belongs to another request";
        Self::new(StatusCode::CONFLICT, "STREAM_EXISTS", message)
    }

    /// Converts an error of the log, or of an ingest job's start.
    pub(super) fn storage(problem: &Problem) -> Self {
        let (status, code) = match problem.status() {
            StatusCode::TOO_MANY_REQUESTS => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_RELAYS"),
            StatusCode::SERVICE_UNAVAILABLE => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
            StatusCode::GONE => (StatusCode::CONFLICT, "STREAM_EXISTS"),
            StatusCode::INSUFFICIENT_STORAGE => (StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL"),
            _ => (StatusCode::BAD_GATEWAY, "STORAGE_ERROR"),
        };
        let mut refusal = Self::of(problem, code);
        refusal.0.status = status;
        refusal
    }

    /// Converts a problem, with a code.
    fn of(problem: &Problem, code: &'static str) -> Self {
        let members = match serde_json::to_value(problem) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let message = members.get("detail").or(members.get("title"));
        let message = message
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let mut refusal = Self::new(problem.status(), code, message);
        refusal.0.members = members;
        refusal
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        let bad_gateway =
            |message: String| Self::new(StatusCode::BAD_GATEWAY, "UPSTREAM_ERROR", message);
        match error {
            OpenError::Refused(refused) => Self::not_allowed(refused.to_string()),
            OpenError::Timeout(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT", message)
            }
            // §4.1: no redirect is followed, even to an allowed URL.
            OpenError::Redirect { status } => {
                Self::new(StatusCode::BAD_REQUEST, "REDIRECT_NOT_ALLOWED", message)
                    .header(header_names::UPSTREAM_STATUS, status.as_u16().into())
            }
            OpenError::Connect(_) | OpenError::Encoded(_) => bad_gateway(message),
            OpenError::Status {
                status,
                content_type,
                body,
                retry_after,
            } => {
                let mut refusal = bad_gateway(message)
                    .header(header_names::UPSTREAM_STATUS, status.as_u16().into());
                if let Some(wait) = retry_after {
                    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                    refusal = refusal.header(header::RETRY_AFTER, seconds.into());
                }
                if !body.is_empty() {
                    let content_type =
                        content_type.and_then(|value| HeaderValue::try_from(value).ok());
                    let content_type = content_type
                        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
                    refusal = refusal.header(header::CONTENT_TYPE, content_type);
                    refusal.0.body = Some(body);
                }
                refusal
            }
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::Missing => "MISSING_SECRET",
            Denied::Wrong => "INVALID_SECRET",
        };
        Self::new(StatusCode::UNAUTHORIZED, code, denied.message())
    }
}

impl From<access::Denied> for Refusal {
    fn from(denied: access::Denied) -> Self {
        Failure::from(denied).into()
    }
}

impl From<Failure> for Refusal {
    /// Keeps the code or the reason of the problem, as several causes share a status. The status has the
    /// code of other problems.
    fn from(failure: Failure) -> Self {
        let (problem, headers) = failure.into_parts();
        let code = match problem.status() {
            StatusCode::NOT_FOUND => return Self::no_relay(),
            StatusCode::BAD_REQUEST => "BAD_REQUEST",
            StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
            StatusCode::FORBIDDEN => "FORBIDDEN",
            StatusCode::NOT_ACCEPTABLE => "NOT_ACCEPTABLE",
            StatusCode::REQUEST_TIMEOUT => "REQUEST_TIMEOUT",
            StatusCode::CONFLICT => "CONFLICT",
            StatusCode::GONE => "GONE",
            StatusCode::PAYLOAD_TOO_LARGE => "PAYLOAD_TOO_LARGE",
            StatusCode::TOO_MANY_REQUESTS => "TOO_MANY_REQUESTS",
            StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
            _ => return Self::storage(&problem),
        };
        let mut refusal = Self::of(&problem, code);
        let members = &refusal.0.members;
        let own = members.get("code").or(members.get("reason"));
        if let Some(code) = own.and_then(Value::as_str) {
            refusal.0.code = code.to_ascii_uppercase().into();
        }
        refusal.0.headers = headers;
        refusal
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Failure::from(problem).into()
    }
}

impl From<headwater_log::Error> for Refusal {
    fn from(error: headwater_log::Error) -> Self {
        Failure::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Inner {
            status,
            code,
            message,
            mut members,
            headers,
            body,
        } = *self.0;
        let body = body.unwrap_or_else(|| {
            let title = Problem::reason(status).unwrap_or_default();
            // The status of this response, even if it differs from the problem's.
            members.remove("status");
            let view = ErrorView {
                title: members.remove("title").unwrap_or(title.into()),
                detail: members.remove("detail").unwrap_or(message.as_str().into()),
                error: Coded { code, message },
                status: status.as_u16(),
                members,
            };
            // Strings and JSON values can always be serialised.
            let text = serde_json::to_string(&view).unwrap_or_default();
            format!("{text}\n").into()
        });
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().extend(headers);
        response
    }
}
