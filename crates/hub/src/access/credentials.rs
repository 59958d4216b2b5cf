//! The credentials of a request: a header, a ticket in the query, or a cookie.

use std::{borrow::Cow, time::SystemTime};

use headwater::query_parameter;
use headwater_auth::{AuthError, Authenticator, Identity};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};

use super::{Access, Denied};
use crate::{Options, requests::cross_origin::Page};

/// The name of the cookie. Browsers take a cookie of this prefix only over https, or from localhost
/// (RFC 6265bis §4.1.3.1).
pub(crate) const COOKIE: &str = "__Secure-headwater";

/// The parameter of the query that has a ticket.
pub(crate) const TICKET: &str = "ticket";

/// The refusal of a ticket that was used, has expired or never existed: one answer for all.
pub(super) const NO_TICKET: Denied = Denied::Unknown(AuthError::NoTicket);

impl Access {
    /// Returns the identity behind a request. Without credentials, it is the anonymous one.
    /// `reads`: the request is for what a ticket is accepted for.
    ///
    /// # Errors
    /// The credentials aren't valid, or aren't accepted for this request.
    pub(super) fn identify_by_credentials(
        &self,
        parts: &Parts,
        options: &Options,
        reads: bool,
    ) -> Result<Identity, Denied> {
        if let Some(token) = bearer(&parts.headers)? {
            return self.verify(token);
        }
        if reads && let Some(ticket) = ticket(parts)? {
            let now = SystemTime::now();
            let identity = self.tickets.redeem(&ticket, now).ok_or(NO_TICKET)?;
            // Its key may have been revoked since.
            let present = self.authenticator.recheck(&identity, now);
            return present.map_err(Denied::Unknown);
        }
        if let Some(token) = cookie(&parts.headers) {
            let is_safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
            if !is_safe && !Page::is_trusted(options, &parts.uri, &parts.headers) {
                return Err(Denied::ForeignPage);
            }
            return self.verify(token);
        }
        Ok(self.anonymous.clone())
    }

    /// Returns the identity of a key or token.
    ///
    /// # Errors
    /// It isn't valid.
    fn verify(&self, token: &str) -> Result<Identity, Denied> {
        self.verify_by(|authenticator, now| authenticator.verify(token, now))
    }

    /// Returns the identity of what an authenticator verifies.
    ///
    /// # Errors
    /// It isn't valid.
    pub(super) fn verify_by(
        &self,
        verify: impl Fn(&Authenticator, SystemTime) -> Result<Identity, AuthError>,
    ) -> Result<Identity, Denied> {
        let now = SystemTime::now();
        let identity = match verify(&self.authenticator, now) {
            // It may be of a key that was created just now.
            Err(AuthError::BadSignature) if self.reload_again() => verify(&self.authenticator, now),
            identity => identity,
        };
        identity.map_err(Denied::Unknown)
    }

    /// Returns the key or token of a request whose identity it is, if it is one's.
    pub(super) fn credential_of<'a>(
        &self,
        identity: &Identity,
        headers: &'a HeaderMap,
    ) -> Option<&'a str> {
        let token = bearer(headers).ok()?.or_else(|| cookie(headers))?;
        // The app may have decided that the request has another identity, or fewer grants.
        let verified = self.authenticator.verify(token, SystemTime::now());
        (verified.as_ref() == Ok(identity)).then_some(token)
    }
}

/// Returns the ticket of a request, if it would count.
pub(super) fn counted_ticket(parts: &Parts) -> Option<String> {
    let is_first = !parts.headers.contains_key(header::AUTHORIZATION);
    is_first.then(|| ticket(parts).ok()?).flatten()
}

/// Returns the token of `Authorization`, if there is that header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let values = headers.get_all(header::AUTHORIZATION).iter();
    headwater_auth::bearer(values.map(HeaderValue::as_bytes)).map_err(Denied::Unknown)
}

/// Returns the ticket of a `GET`.
///
/// # Errors
/// There are several.
pub(super) fn ticket(parts: &Parts) -> Result<Option<String>, Denied> {
    if parts.method != Method::GET {
        return Ok(None);
    }
    let ticket = query_parameter(parts.uri.query(), TICKET).map_err(Denied::Parameter)?;
    Ok(ticket.map(Cow::into_owned))
}

/// Returns the token of the cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token)
}
