//! The secret that upstream calls require, if there is one.

use headwater::{App, MethodRoute, SecurityScheme, StatusCode};
use http::{HeaderMap, header};
use subtle::ConstantTimeEq as _;

use crate::{error::Failure, options::UpstreamOptions};

/// The security scheme of the secret in the OpenAPI document.
const SCHEME: &str = "relaySecret";

/// The reason for which a request was refused with 401.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Denied {
    /// It has no secret.
    Missing,
    /// It has another one.
    Wrong,
}

impl Denied {
    /// Returns the reason in words.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Missing => "this needs the hub's secret: Authorization: Bearer …",
            Self::Wrong => "that is not the hub's secret",
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, denied.message())
    }
}

/// Checks the secret of a request, in constant time.
///
/// # Errors
/// The secret is missing or wrong.
pub(crate) fn check(options: &UpstreamOptions, headers: &HeaderMap) -> Result<(), Denied> {
    let Some(secret) = &options.secret else {
        return Ok(());
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Denied::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(Denied::Wrong);
    }
    let scheme = b"bearer ";
    let given = match value.split_at_checked(scheme.len()) {
        Some((head, given)) if head.eq_ignore_ascii_case(scheme) => given.trim_ascii(),
        _ => return Err(Denied::Wrong),
    };
    match given.ct_eq(secret.as_bytes()).into() {
        true => Ok(()),
        false => Err(Denied::Wrong),
    }
}

/// Documents the secret, if there is one.
pub(crate) fn describe<S: Clone + Send + Sync + 'static>(app: App<S>, guarded: bool) -> App<S> {
    match guarded {
        true => app.security_scheme(SCHEME, SecurityScheme::bearer()),
        false => app,
    }
}

/// Documents that an operation requires the secret, if there is one.
pub(crate) fn guard<S>(route: MethodRoute<S>, guarded: bool) -> MethodRoute<S> {
    match guarded {
        true => route.security(SCHEME),
        false => route,
    }
}
