use std::fmt;

use headwater::StatusCode;

/// Why a request about a subscription was refused. The codes are those that clients of the
/// protocol know.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// The request can't be meant so.
    Invalid(String),
    /// No subscription has this id.
    NotFound,
    /// One of this id is there, and it is another one.
    AlreadyExists,
    /// The webhook's URL is not one that the hub calls.
    WebhookUrl(&'static str),
    /// The token is missing, not ours, or for another subscription.
    TokenInvalid,
    /// The token is too old.
    TokenExpired,
    /// The wake is over, or never was.
    Fenced,
    /// Another worker holds the lease.
    AlreadyClaimed { holder: String, generation: u64 },
    /// There is nothing to claim.
    NoPendingWork,
    /// What is acknowledged can't have been read.
    InvalidOffset(String),
    /// There is as much as there may be.
    Limit(Limit),
    /// The log has no room for it.
    Full,
    /// The log failed. Whether it happened isn't known.
    Log,
    /// The hub is going down.
    Unavailable,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// What is limited.
    pub(super) what: &'static str,
    /// The most that there may be.
    pub(super) limit: usize,
    /// How to get below it.
    pub(super) way: &'static str,
}

impl Refusal {
    /// The code in the answer.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::NotFound => "SUBSCRIPTION_NOT_FOUND",
            Self::AlreadyExists => "SUBSCRIPTION_ALREADY_EXISTS",
            Self::WebhookUrl(_) => "WEBHOOK_URL_REJECTED",
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

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::WebhookUrl(_) => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TokenInvalid | Self::TokenExpired => StatusCode::UNAUTHORIZED,
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) | Self::InvalidOffset(why) => f.write_str(why),
            Self::NotFound => f.write_str("there is no such subscription"),
            Self::AlreadyExists => {
                f.write_str("a subscription of this id is there, with another configuration")
            }
            Self::WebhookUrl(why) => f.write_str(why),
            Self::TokenInvalid => {
                f.write_str("a bearer token of this subscription's wake is to be given")
            }
            Self::TokenExpired => f.write_str("the token has expired: claim anew"),
            Self::Fenced => f.write_str("this wake is over"),
            Self::AlreadyClaimed { holder, .. } => write!(f, "{holder} holds the lease"),
            Self::NoPendingWork => f.write_str("nothing is pending"),
            Self::Limit(Limit { what, limit, way }) => {
                write!(f, "{what}: the limit is {limit}; {way}")
            }
            Self::Full => f.write_str("the storage is full"),
            Self::Log => f.write_str("the log failed; whether it happened isn't known"),
            Self::Unavailable => f.write_str("the hub is shutting down"),
        }
    }
}

impl From<&headwater_log::Error> for Refusal {
    fn from(error: &headwater_log::Error) -> Self {
        if error.is_storage_full() {
            Self::Full
        } else if error.is_closed() {
            Self::Unavailable
        } else {
            Self::Log
        }
    }
}
