use headwater::StatusCode;
use headwater_auth::Action;

use crate::access::Denied;

/// The reason for which a subscription request was refused. The codes are part of the protocol.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The request is invalid.
    #[error("{0}")]
    Invalid(String),
    /// There is no subscription with this id.
    #[error("the subscription doesn't exist")]
    NotFound,
    /// There is a subscription with this id and a different configuration.
    #[error("a subscription with this id exists, with another configuration")]
    AlreadyExists,
    /// The hub doesn't call URLs like the webhook's.
    #[error("{0}")]
    WebhookUrl(&'static str),
    /// The credentials don't grant an action that the request needs.
    #[error("the credentials don't allow the action `{0}` on all of these streams")]
    NotGranted(Action),
    /// The request has no credentials.
    #[error("this needs a key or a token: Authorization: Bearer …")]
    NoCredentials,
    /// The token is missing, wasn't signed by this hub, or belongs to another subscription.
    #[error("a bearer token of this subscription's wake is required")]
    TokenInvalid,
    /// The token has expired.
    #[error("the token has expired: claim again")]
    TokenExpired,
    /// The wake has ended, or never existed.
    #[error("this wake is over")]
    Fenced,
    /// Another worker holds the lease.
    #[error("{holder} holds the lease")]
    AlreadyClaimed { holder: String, generation: u64 },
    /// There is nothing to claim.
    #[error("nothing is pending")]
    NoPendingWork,
    /// The acknowledged offset can't have been read.
    #[error("{0}")]
    InvalidOffset(String),
    /// A limit is reached.
    #[error("{}: the limit is {}; {}", .0.what, .0.limit, .0.way)]
    Limit(Limit),
    /// The log is full.
    #[error("the storage is full")]
    Full,
    /// The log failed. The outcome is unknown.
    #[error("the log failed; the change may or may not have happened")]
    Log,
    /// The hub is stopping.
    #[error("the hub is shutting down")]
    Unavailable,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The limited quantity.
    pub(super) what: &'static str,
    /// Its maximum.
    pub(super) limit: usize,
    /// A way to get below it.
    pub(super) way: &'static str,
}

impl Refusal {
    /// Returns the code of the response.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::NotFound => "SUBSCRIPTION_NOT_FOUND",
            Self::AlreadyExists => "SUBSCRIPTION_ALREADY_EXISTS",
            Self::WebhookUrl(_) => "WEBHOOK_URL_REJECTED",
            Self::NotGranted(_) => "NOT_GRANTED",
            Self::NoCredentials => "TOKEN_MISSING",
            Self::TokenInvalid => "TOKEN_INVALID",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::Fenced => "FENCED",
            Self::AlreadyClaimed { .. } => "ALREADY_CLAIMED",
            Self::NoPendingWork => "NO_PENDING_WORK",
            Self::InvalidOffset(_) => "INVALID_OFFSET",
            Self::Limit(_) => "LIMIT_REACHED",
            Self::Full => "STORAGE_FULL",
            Self::Log => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
        }
    }

    /// Returns the status of the response.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::WebhookUrl(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotGranted(_) => StatusCode::FORBIDDEN,
            Self::NoCredentials | Self::TokenInvalid | Self::TokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::AlreadyExists
            | Self::Fenced
            | Self::AlreadyClaimed { .. }
            | Self::NoPendingWork
            | Self::InvalidOffset(_) => StatusCode::CONFLICT,
            Self::Limit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Full => StatusCode::INSUFFICIENT_STORAGE,
            Self::Log => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Lacks(action) => Self::NotGranted(action),
            // The guard of the route has refused others.
            _ => Self::NoCredentials,
        }
    }
}

impl From<&headwater_log::Error> for Refusal {
    fn from(error: &headwater_log::Error) -> Self {
        if error.is_storage_full() {
            Self::Full
        } else if error.is_closed() || error.is_unavailable() {
            Self::Unavailable
        } else {
            Self::Log
        }
    }
}
