//! Refused requests.

use axum::response::{IntoResponse, Response};
use headwater::{Problem, StatusCode};
use headwater_auth::{Action, AuthError};
use http::{HeaderValue, header};

use crate::error::Failure;

/// The reason for which a request isn't allowed.
#[derive(Clone, Debug)]
pub(crate) enum Denied {
    /// The credentials are missing or not valid.
    Unknown(AuthError),
    /// The identity lacks a grant. Nothing tells if the stream exists.
    Lacks(Action),
    /// A page may have caused the request without its user's knowledge.
    ForeignPage,
}

impl Denied {
    /// Returns the problem without the headers of a response.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Unknown(AuthError::Missing) => Problem::new(StatusCode::UNAUTHORIZED)
                .detail("this needs a key or a token: Authorization: Bearer …")
                .with("code", "token_missing"),
            Self::Unknown(error) => Problem::new(StatusCode::UNAUTHORIZED)
                .detail(error.to_string())
                .with("code", format!("token_{}", error.code())),
            Self::Lacks(action) => Problem::new(StatusCode::FORBIDDEN)
                .detail(format!("the credentials don't allow the action `{action}` here"))
                .with("code", "not_granted")
                .with("action", action.to_string()),
            Self::ForeignPage => Problem::new(StatusCode::FORBIDDEN)
                .detail(
                    "a cookie authorizes a request that changes something only if its `Origin` is the hub's own or \
                     an allowed one",
                )
                .with("code", "foreign_page"),
        }
    }

    /// Returns the value of `WWW-Authenticate` (RFC 6750 §3).
    fn challenge(&self) -> Option<HeaderValue> {
        let challenge = match self {
            Self::Unknown(error) => match error.bearer_error() {
                None => "Bearer".to_owned(),
                Some(code) => format!("Bearer error=\"{code}\", error_description=\"{error}\""),
            },
            Self::Lacks(action) => {
                format!("Bearer error=\"insufficient_scope\", scope=\"{action}\"")
            }
            Self::ForeignPage => return None,
        };
        HeaderValue::try_from(challenge).ok()
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let failure = Self::from(denied.problem());
        match denied.challenge() {
            Some(challenge) => failure.header(header::WWW_AUTHENTICATE, challenge),
            None => failure,
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        Failure::from(self).into_response()
    }
}
