//! The URLs of the hub as the client of a request reaches it. All URLs are created here.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OriginalUri};
use headwater::{OperationInput, RequestOrigin};
use headwater_log::StreamName;
use http::{HeaderMap, Uri, header, request::Parts, uri::Authority};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::options::Options;

/// The characters that are percent-encoded in a stream's name: all except those that RFC 3986 §3.3
/// allows in a path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The scheme and the authority of a request.
#[derive(Debug, Clone)]
pub(crate) struct Origin(RequestOrigin);

impl Origin {
    pub(crate) fn of_request(parts: &Parts) -> Self {
        Self(RequestOrigin::of(parts))
    }

    /// Returns the authority. If it is `None`, a URL is a reference relative to the root of the
    /// server. HTTP/1.0 requests may have none.
    fn authority(&self) -> Option<&str> {
        self.0.host()
    }

    /// Returns the URL of a path. `public` is the configured URL of the server, if any.
    pub(crate) fn url(&self, public: Option<&str>, path: &str) -> String {
        match (public, self.authority()) {
            (Some(public), _) => format!("{public}{path}"),
            (None, Some(authority)) => format!("{}://{authority}{path}", self.0.scheme()),
            (None, None) => path.to_owned(),
        }
    }

    /// Returns the URL of a stream of a hub that is mounted under `prefix`.
    pub(crate) fn stream(&self, options: &Options, prefix: &str, name: &StreamName) -> String {
        let path = format!("{prefix}{}", of_stream(options, name));
        self.url(options.public_url.as_deref(), &path)
    }

    /// Returns the URL of a path for a receiver that has no base URL to resolve a reference
    /// against.
    pub(crate) fn absolute(&self, public: Option<&str>, path: &str) -> String {
        match (public, self.authority()) {
            (None, None) => format!("{}://localhost{path}", self.0.scheme()),
            _ => self.url(public, path),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of_request(parts))
    }
}

impl OperationInput for Origin {}

/// The URL of a request, as its client sees it.
#[derive(Debug)]
pub(crate) struct RequestUrl {
    origin: Origin,
    path: String,
}

impl RequestUrl {
    /// Returns the URL of a path next to an endpoint, at which the request was made.
    pub(crate) fn beside(&self, endpoint: &str, options: &Options, path: &str) -> String {
        let path = format!("{}{path}", prefix(&self.path, endpoint));
        self.origin.url(options.public_url.as_deref(), &path)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestUrl {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            origin: Origin::of_request(parts),
            path: uri(parts).path().to_owned(),
        })
    }
}

impl OperationInput for RequestUrl {}

/// Returns the authority that a request is for. The target's own takes precedence over `Host` (RFC
/// 9112 §3.2.2).
pub(crate) fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = || headers.get(header::HOST)?.to_str().ok();
    let target = uri.authority().map(Authority::as_str);
    target.or_else(|| host().filter(|host| !host.is_empty()))
}

/// Returns a request's URI as the client sees it, including the prefix that a router removed.
pub(crate) fn uri(parts: &Parts) -> &Uri {
    let original = parts.extensions.get::<OriginalUri>();
    original.map_or(&parts.uri, |OriginalUri(uri)| uri)
}

/// Returns the prefix before an endpoint's own path in the path of a request. It is empty unless
/// the hub is mounted under a path.
pub(crate) fn prefix<'a>(path: &'a str, endpoint: &str) -> &'a str {
    let path = path.trim_end_matches('/');
    path.strip_suffix(endpoint).unwrap_or_default()
}

/// Returns the path of a stream, without the prefix of a mounted hub.
pub(crate) fn of_stream(options: &Options, name: &StreamName) -> String {
    let root = options.root.trim_end_matches('/');
    format!("{root}/{}", utf8_percent_encode(name.as_str(), ENCODED))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn url(uri: &str, host: Option<&str>, public: Option<&str>) -> String {
        let mut request = Request::builder()
            .uri(uri)
            // Only those of trusted proxies count, and the server reads these.
            .header("x-forwarded-proto", "https");
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Origin::of_request(&parts).url(public, "/x")
    }

    #[test]
    fn urls_are_as_the_client_reaches_the_server() {
        let host = Some("hub.test:1");
        let public = Some("https://hub.example");
        for (uri, host, public, expected) in [
            ("/", host, None, "http://hub.test:1/x"),
            ("http://target/", host, None, "http://target/x"),
            ("https://target/", None, None, "https://target/x"),
            ("/", host, public, "https://hub.example/x"),
            ("/", None, public, "https://hub.example/x"),
            ("/", None, None, "/x"),
        ] {
            assert_eq!(url(uri, host, public), expected, "{uri} {host:?}");
        }
    }

    #[test]
    fn a_streams_path_is_under_the_root_and_the_mount_prefix() {
        let name = crate::protocol::path::name_of("a b/ü").unwrap();
        assert_eq!(of_stream(&Options::new(), &name), "/streams/a%20b/%C3%BC");
        assert_eq!(of_stream(&Options::new().root("/"), &name), "/a%20b/%C3%BC");
        assert_eq!(prefix("/under/gather", "/gather"), "/under");
        assert_eq!(prefix("/gather/", "/gather"), "");
    }
}
