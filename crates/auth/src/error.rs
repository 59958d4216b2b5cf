//! The reasons for which a token is refused.

use std::fmt;

/// Maximum number of characters of a reason from a token's content.
const REASON_CHARS: usize = 200;

/// The reason for which a token or key was refused.
///
/// [`Display`](fmt::Display) gives a sentence for the client. It has no part of a secret or of a
/// signature, and only characters that RFC 6750 section 3 allows in `error_description`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// There is no token.
    Missing,
    /// There is no token, but credentials of another scheme than `Bearer`. Its [`code`](Self::code) is that of a
    /// malformed token.
    OtherScheme,
    /// The token can't be parsed, or a claim has a wrong form.
    Malformed(Reason),
    /// The token or key has expired.
    Expired,
    /// The token's `nbf` is in the future.
    NotYetValid,
    /// The signature doesn't match, or there is no such key with such a secret.
    BadSignature,
    /// The token is for another audience.
    WrongAudience,
    /// The token is of another issuer.
    WrongIssuer,
    /// None of the verifier's keys has the token's key id. The key set may have changed: fetch it
    /// again, at the rate that [`JwksCache`](crate::JwksCache) allows.
    UnknownKey {
        /// The token's `kid`.
        kid: Option<Box<str>>,
    },
    /// The key was revoked.
    Revoked,
    /// The ticket was used, has expired or never existed: one answer for all. Its [`code`](Self::code) is that of
    /// an expired token, as the remedy is the same: another one.
    NoTicket,
    /// The signature's algorithm isn't one that the verifier accepts with its keys.
    Unsupported(Reason),
}

impl AuthError {
    pub(crate) fn malformed(reason: impl Into<Reason>) -> Self {
        Self::Malformed(reason.into())
    }

    /// Makes the error for an algorithm that isn't accepted.
    pub(crate) fn unsupported(algorithm: &str) -> Self {
        let algorithm = algorithm.chars().take(32);
        Self::Unsupported(Reason::from(algorithm.collect::<String>()))
    }

    /// Returns the stable name of the kind of error, for logs, metrics and problem types.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) | Self::OtherScheme => "malformed",
            Self::Expired | Self::NoTicket => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::BadSignature => "bad_signature",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
            Self::UnknownKey { .. } => "unknown_key",
            Self::Revoked => "revoked",
            Self::Unsupported(_) => "unsupported",
        }
    }

    /// Returns the value of `error` in `WWW-Authenticate` (RFC 6750 section 3.1). A request without a
    /// token, or with credentials of another scheme, gets a challenge without `error`.
    #[must_use]
    pub fn bearer_error(&self) -> Option<&'static str> {
        match self {
            Self::Missing | Self::OtherScheme => None,
            _ => Some("invalid_token"),
        }
    }
}

impl AuthError {
    /// Returns the value of `WWW-Authenticate` (RFC 6750 section 3).
    #[must_use]
    pub fn challenge(&self) -> String {
        match self.bearer_error() {
            None => "Bearer".to_owned(),
            Some(code) => format!("Bearer error=\"{code}\", error_description=\"{self}\""),
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the request has no token"),
            Self::OtherScheme => {
                f.write_str("the Authorization header is not `Bearer` and a token")
            }
            Self::Malformed(reason) => write!(f, "the token is malformed: {reason}"),
            Self::Expired => f.write_str("the token has expired"),
            Self::NotYetValid => f.write_str("the token is not valid yet"),
            Self::BadSignature => f.write_str("the signature or secret of the token is wrong"),
            Self::WrongAudience => f.write_str("the token is for another audience"),
            Self::WrongIssuer => f.write_str("the token is of another issuer"),
            Self::UnknownKey { .. } => f.write_str("the key of the token is unknown"),
            Self::Revoked => f.write_str("the key was revoked"),
            Self::NoTicket => f.write_str("the ticket is unknown, was used, or has expired"),
            Self::Unsupported(name) => {
                write!(
                    f,
                    "the algorithm {name} is not accepted with the configured keys"
                )
            }
        }
    }
}

impl std::error::Error for AuthError {}

/// A part of an [`AuthError`]'s sentence.
///
/// It may have text of the token's sender. It is therefore short, and only has characters that are
/// allowed in a quoted string of a header.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason(Box<str>);

impl Reason {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for Reason {
    fn from(text: T) -> Self {
        let allowed = |char| match char {
            '"' => '\'',
            // RFC 6750 section 3: %x20-21 / %x23-5B / %x5D-7E.
            ' '..='~' if char != '\\' => char,
            _ => '?',
        };
        let text = text.as_ref().chars().take(REASON_CHARS);
        Self(text.map(allowed).collect())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_fits_into_a_quoted_string_of_a_header() {
        let hostile = "a\"b\\c\r\nd\u{7f}\u{e9}".repeat(100);
        let sentence = AuthError::malformed(&hostile).to_string();
        assert!(sentence.starts_with("the token is malformed: a'b?c??d??a'b"));
        assert!(sentence.len() < 300);
        for error in [
            AuthError::malformed(&hostile),
            AuthError::unsupported(&hostile),
        ] {
            let allowed = |byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
            assert!(error.to_string().bytes().all(allowed), "{error}");
        }
    }

    #[test]
    fn only_a_missing_token_has_no_error_code_of_rfc_6750() {
        assert_eq!(AuthError::Missing.bearer_error(), None);
        assert_eq!(AuthError::OtherScheme.bearer_error(), None);
        assert_eq!(AuthError::OtherScheme.challenge(), "Bearer");
        assert_eq!(AuthError::Expired.bearer_error(), Some("invalid_token"));
        assert_eq!(AuthError::Missing.challenge(), "Bearer");
        let challenge =
            "Bearer error=\"invalid_token\", error_description=\"the token has expired\"";
        assert_eq!(AuthError::Expired.challenge(), challenge);
    }
}
