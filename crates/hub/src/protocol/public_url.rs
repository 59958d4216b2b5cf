//! The URLs of the hub as the client of a request reaches it. All URLs are created here.

use axum::extract::OriginalUri;
use headwater_log::StreamName;
use http::{HeaderMap, HeaderName, Uri, header, request::Parts, uri::Authority};
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

/// The scheme by which a proxy's client reached it.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The scheme and the authority of a request.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    scheme: &'static str,
    /// `None`: a URL is a reference relative to the root of the server. HTTP/1.0 requests may have
    /// none.
    pub(crate) authority: Option<String>,
}

impl Origin {
    /// Determines the origin. A proxy sets `X-Forwarded-Proto` if its client uses HTTPS.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let proto = headers.get(X_FORWARDED_PROTO);
        let proto = proto
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        // With several proxies, the first one in the list received the client's request.
        let proto = proto.split(',').next().unwrap_or_default().trim();
        let is_secure = match proto {
            "" => uri.scheme_str() == Some("https"),
            proto => proto.eq_ignore_ascii_case("https"),
        };
        Self {
            scheme: if is_secure { "https" } else { "http" },
            authority: authority(uri, headers).map(str::to_owned),
        }
    }

    pub(crate) fn of_request(parts: &Parts) -> Self {
        Self::of(uri(parts), &parts.headers)
    }

    /// Returns the URL of a path. `public` is the configured URL of the server, if any.
    pub(crate) fn url(&self, public: Option<&str>, path: &str) -> String {
        match (public, &self.authority) {
            (Some(public), _) => format!("{public}{path}"),
            (None, Some(authority)) => format!("{}://{authority}{path}", self.scheme),
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
        match (public, &self.authority) {
            (None, None) => format!("{}://localhost{path}", self.scheme),
            _ => self.url(public, path),
        }
    }
}

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
    use http::HeaderValue;

    use super::*;

    fn url(uri: &str, headers: &[(&'static str, &'static str)], public: Option<&str>) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        Origin::of(&uri.parse().unwrap(), &headers).url(public, "/x")
    }

    #[test]
    fn urls_are_as_the_client_reaches_the_server() {
        let host = ("host", "hub.test:1");
        for (uri, headers, public, expected) in [
            ("/", &[host][..], None, "http://hub.test:1/x"),
            (
                "/",
                &[host, ("x-forwarded-proto", "https")],
                None,
                "https://hub.test:1/x",
            ),
            (
                "/",
                &[host, ("x-forwarded-proto", "HTTPS, http")],
                None,
                "https://hub.test:1/x",
            ),
            (
                "/",
                &[host, ("x-forwarded-proto", "gopher")],
                None,
                "http://hub.test:1/x",
            ),
            ("http://target/", &[host], None, "http://target/x"),
            ("https://target/", &[], None, "https://target/x"),
            (
                "/",
                &[host],
                Some("https://hub.example"),
                "https://hub.example/x",
            ),
            (
                "/",
                &[],
                Some("https://hub.example"),
                "https://hub.example/x",
            ),
            ("/", &[], None, "/x"),
        ] {
            assert_eq!(url(uri, headers, public), expected, "{uri} {headers:?}");
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
