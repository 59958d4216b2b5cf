//! The scheme and the host of a request, as its client used them.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OriginalUri};
use http::{
    HeaderMap, Uri, header,
    request::Parts,
    uri::{Authority, Scheme},
};

/// The scheme and the host by which the client of a request reached the server.
///
/// Under [`serve`](crate::serve) with TLS, the scheme is `https`. Behind a
/// [trusted proxy](crate::Serve::trusted_proxies), both are as the proxy reports them. Under another
/// server they are taken from the request alone.
///
/// It is an extractor. Use it for absolute URLs in responses:
///
/// ```
/// use headwater::RequestOrigin;
///
/// async fn where_am_i(origin: RequestOrigin) -> String {
///     match origin.host() {
///         Some(host) => format!("{}://{host}/items/1", origin.scheme()),
///         None => "/items/1".to_owned(),
///     }
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(where_am_i));
/// ```
///
/// Both values come from the client. Don't base a decision about access on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOrigin {
    scheme: Scheme,
    host: Option<String>,
}

/// The origin of a request, as far as the server knows it from the connection or a proxy. It is an extension of
/// the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) scheme: Scheme,
    /// A valid authority. `None`: the one of the request.
    pub(crate) host: Option<String>,
}

impl RequestOrigin {
    /// Determines the origin of a request.
    #[must_use]
    pub fn of(parts: &Parts) -> Self {
        let uri = match parts.extensions.get::<OriginalUri>() {
            Some(OriginalUri(uri)) => uri,
            None => &parts.uri,
        };
        let own = || authority(uri, &parts.headers).map(str::to_owned);
        match parts.extensions.get::<Reached>() {
            Some(Reached { scheme, host }) => Self {
                scheme: scheme.clone(),
                host: host.clone().or_else(own),
            },
            None => Self {
                scheme: match uri.scheme_str() {
                    Some("https") => Scheme::HTTPS,
                    _ => Scheme::HTTP,
                },
                host: own(),
            },
        }
    }

    /// Returns `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.scheme.as_str()
    }

    /// Returns the host, with its port if the client named one. It is `None` only for a request of
    /// HTTP/1.0 without `Host`.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

/// Returns the authority that a request is for. The target's own takes precedence over `Host` (RFC
/// 9112 §3.2.2).
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = || headers.get(header::HOST)?.to_str().ok();
    let target = uri.authority().map(Authority::as_str);
    target.or_else(|| host().filter(|host| !host.is_empty()))
}

impl<S: Sync> FromRequestParts<S> for RequestOrigin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(uri: &str, host: Option<&str>, reached: Option<Reached>) -> (String, Option<String>) {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(reached) = reached {
            request = request.extension(reached);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let origin = RequestOrigin::of(&parts);
        (origin.scheme().to_owned(), origin.host().map(str::to_owned))
    }

    #[test]
    fn the_server_knows_the_origin_better_than_the_request() {
        let check = |uri, host, reached, scheme: &str, expected: Option<&str>| {
            let expected = (scheme.to_owned(), expected.map(str::to_owned));
            assert_eq!(of(uri, host, reached), expected, "{uri} {host:?}");
        };
        let reached = |scheme, host: Option<&str>| {
            Some(Reached {
                scheme,
                host: host.map(str::to_owned),
            })
        };
        check("/", Some("a:1"), None, "http", Some("a:1"));
        check("/", None, None, "http", None);
        check("http://b/", Some("a"), None, "http", Some("b"));
        check("https://b/", None, None, "https", Some("b"));
        let https = || reached(Scheme::HTTPS, None);
        check("/", Some("a"), https(), "https", Some("a"));
        check("http://b/", None, https(), "https", Some("b"));
        let proxied = reached(Scheme::HTTP, Some("c:9"));
        check("https://b/", Some("a"), proxied, "http", Some("c:9"));
    }
}
