//! Refused requests.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use headwater::{BadParameter, Problem, StatusCode};
use headwater_auth::{Action, AuthError};
use headwater_log::Error;
use http::{HeaderValue, header};

use super::hook::Refused;
use crate::{error::Failure, requests::cross_origin::FOREIGN_PAGE};

/// Time in seconds after which the keys of tokens may be known: about that until the next fetch.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("10");

/// The reason for which a request isn't allowed.
#[derive(Clone, Debug)]
pub(crate) enum Denied {
    /// The credentials are missing or not valid.
    Unknown(AuthError),
    /// The identity lacks a grant. Nothing tells if the stream exists.
    Lacks(Action),
    /// The keys of tokens aren't known: their issuer doesn't answer.
    #[cfg_attr(
        not(feature = "jwks"),
        allow(dead_code, reason = "only keys by URL can be out of reach")
    )]
    NoKeys,
    /// The log that has the tickets fails.
    NoTickets(Arc<Error>),
    /// The app refuses the request.
    Refused(Refused),
    /// The query has several tickets, or one that isn't UTF-8.
    Parameter(BadParameter),
    /// A page may have caused the request without its user's knowledge.
    ForeignPage,
}

impl Denied {
    /// Returns the denial of what needs the log's tickets, for an error of the log.
    pub(super) fn tickets(error: Error) -> Self {
        Self::NoTickets(Arc::new(error))
    }

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
            Self::NoKeys => Problem::new(StatusCode::SERVICE_UNAVAILABLE)
                .detail("tokens can't be verified now: their issuer doesn't provide its keys")
                .with("code", "keys_unavailable"),
            Self::NoTickets(error) => {
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
                    .detail("tickets can't be issued or redeemed now, as the log fails: request another ticket")
                    .with("code", "tickets_unavailable");
                // The log reports these once itself.
                match error.is_storage_full() || error.is_closed() {
                    true => problem,
                    false => problem.source(Arc::clone(error)),
                }
            }
            Self::Refused(refused) => refused.problem(),
            Self::Parameter(bad) => bad.clone().into(),
            Self::ForeignPage => Problem::new(StatusCode::FORBIDDEN)
                .detail(
                    "a cookie authorizes a request that changes something only if its page is of the hub's own \
                     origin or of one that `cors` lists",
                )
                .with("code", FOREIGN_PAGE),
        }
    }

    /// Returns the value of `WWW-Authenticate` (RFC 6750 §3).
    fn challenge(&self) -> Option<HeaderValue> {
        let challenge = match self {
            Self::Unknown(error) => error.challenge(),
            Self::Lacks(action) => {
                format!("Bearer error=\"insufficient_scope\", scope=\"{action}\"")
            }
            Self::NoKeys
            | Self::NoTickets(_)
            | Self::Refused(_)
            | Self::Parameter(_)
            | Self::ForeignPage => return None,
        };
        HeaderValue::try_from(challenge).ok()
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let problem = denied.problem();
        let challenge = denied.challenge();
        let failure = Self::from(problem);
        let failure = match denied {
            Denied::NoKeys => failure.header(header::RETRY_AFTER, RETRY_AFTER),
            _ => failure,
        };
        match challenge {
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
