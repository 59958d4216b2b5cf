//! A stream's URL, taken apart: which stream, and where the streams are.

use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use headwater::{In, Operation, OperationInput, Problem};
use headwater_log::StreamName;
use http::{HeaderMap, HeaderValue, Uri, header, request::Parts, uri::Authority};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;

use crate::options::Options;

/// The first segment that is the hub's own.
pub(crate) const RESERVED: &str = "__ds";

/// The stream that a request is about.
#[derive(Debug)]
pub(crate) struct StreamPath {
    pub(crate) name: StreamName,
    /// The request's path as it came.
    raw: String,
    /// The path under which the streams are, with the slash at its end, decoded.
    root: String,
    host: Option<String>,
}

impl StreamPath {
    /// The stream's URL. `public` is how clients reach the server, if that was set.
    pub(crate) fn url(&self, public: Option<&str>) -> Option<HeaderValue> {
        let url = url(public, self.host.as_deref(), &self.raw);
        HeaderValue::try_from(url).ok()
    }

    /// The stream that a header names: by the path of its URL on this server, or by what follows the root.
    pub(crate) fn other(&self, path: &str) -> Result<StreamName, Problem> {
        let path = percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| Problem::bad_request("the path of a stream is UTF-8"))?;
        match path.strip_prefix(self.root.as_str()) {
            Some(name) => name_of(name),
            None if path.starts_with('/') => Err(Problem::bad_request(format!(
                "{path:?} is not under {:?}, where the streams of this server are",
                self.root
            ))),
            None => name_of(&path),
        }
    }
}

/// Where the hub's endpoints are, as a request of one of them that isn't a stream has it.
#[derive(Debug)]
pub(crate) struct Origin {
    /// What stands before the endpoint's own path: empty, unless the hub is mounted under a path.
    prefix: String,
    host: Option<String>,
}

impl Origin {
    /// Takes the request's URI, as the client has it, which ends with `endpoint`.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap, endpoint: &str) -> Self {
        let prefix = uri.path().strip_suffix(endpoint).unwrap_or_default();
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = host.or(uri.authority().map(Authority::as_str));
        Self {
            prefix: prefix.to_owned(),
            host: host.map(str::to_owned),
        }
    }

    /// The URL of a stream. `public` is how clients reach the server, if that was set.
    pub(crate) fn stream(&self, options: &Options, name: &StreamName) -> String {
        let root = options.root.trim_end_matches('/');
        let name = utf8_percent_encode(name.as_str(), ENCODED);
        let path = format!("{}{root}/{name}", self.prefix);
        url(options.public_url.as_deref(), self.host.as_deref(), &path)
    }
}

/// What is percent-encoded in a stream's name: all but what RFC 3986 §3.3 lets stand in a path.
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

/// The URL of a path of this server, which clients reach at `public` or at the host that they name.
fn url(public: Option<&str>, host: Option<&str>, path: &str) -> String {
    match (public, host) {
        (Some(public), _) => format!("{public}{path}"),
        (None, Some(host)) => format!("http://{host}{path}"),
        (None, None) => path.to_owned(),
    }
}

/// Takes what follows the root as a stream's name.
///
/// # Errors
/// It has an empty segment, one of `.` and `..`, or a control character; it is too long, or the hub's own.
pub(crate) fn name_of(path: &str) -> Result<StreamName, Problem> {
    let name = StreamName::new(path).map_err(crate::error::problem)?;
    if path.split('/').next() == Some(RESERVED) {
        return Err(Problem::not_found(format!(
            "paths under {RESERVED} are the hub's own"
        )));
    }
    if path
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        let detail = "a stream's path has no empty segments and none of \".\" and \"..\"";
        return Err(Problem::bad_request(detail));
    }
    Ok(name)
}

impl<S: Send + Sync> FromRequestParts<S> for StreamPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| Problem::bad_request("the path of a stream is UTF-8"))?;
        let path = params.iter().find(|(name, _)| *name == "path");
        let (_, path) = path.ok_or_else(|| Problem::not_found("there is no path of a stream"))?;
        let name = name_of(path)?;
        // As the client has it: what a router on the way took off is part of it.
        let uri = parts
            .extensions
            .get::<OriginalUri>()
            .map_or(&parts.uri, |OriginalUri(uri)| uri);
        let raw = uri.path().to_owned();
        let decoded = percent_decode_str(&raw).decode_utf8_lossy();
        let root = decoded.strip_suffix(path).unwrap_or("/").to_owned();
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = host
            .or(uri.authority().map(Authority::as_str))
            .map(str::to_owned);
        Ok(Self {
            name,
            raw,
            root,
            host,
        })
    }
}

impl OperationInput for StreamPath {
    fn describe(operation: &mut Operation) {
        operation.parameters::<Described>(In::Path);
    }
}

/// What the document says of the path.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Described {
    /// Which stream: `orders`, or segments with `/` between them, `shops/7/orders`. At most 1,024 bytes; none of them `.`,
    /// `..` or empty, and the first not `__ds`.
    path: String,
}

#[cfg(test)]
mod tests {
    use headwater::StatusCode;

    use super::*;

    #[test]
    fn a_path_with_a_segment_that_means_something_else_is_no_name() {
        for bad in ["", "/a", "a/", "a//b", "a/./b", "../a", "a\nb"] {
            assert_eq!(
                name_of(bad).unwrap_err().status(),
                StatusCode::BAD_REQUEST,
                "{bad:?}"
            );
        }
        assert_eq!(name_of("a/b.c/…").unwrap().as_str(), "a/b.c/…");
    }

    #[test]
    fn a_streams_url_is_where_the_hub_is_mounted_and_reached() {
        let name = name_of("a b/ü").unwrap();
        let mut headers = HeaderMap::new();
        let mut url = |uri: &str, host: &'static str, options: &Options| {
            headers.insert(header::HOST, HeaderValue::from_static(host));
            Origin::of(&uri.parse().unwrap(), &headers, "/gather").stream(options, &name)
        };
        let options = Options::new();
        let plain = url("/gather?x", "hub.test:1", &options);
        assert_eq!(plain, "http://hub.test:1/streams/a%20b/%C3%BC");
        let mounted = url("/under/gather", "hub.test", &options);
        assert_eq!(mounted, "http://hub.test/under/streams/a%20b/%C3%BC");
        let options = Options::new().root("/").public_url("https://hub.example/");
        assert_eq!(
            url("/gather", "x", &options),
            "https://hub.example/a%20b/%C3%BC"
        );
    }

    #[test]
    fn the_hubs_own_paths_are_no_streams() {
        assert_eq!(name_of("__ds").unwrap_err().status(), StatusCode::NOT_FOUND);
        assert_eq!(
            name_of("__ds/x").unwrap_err().status(),
            StatusCode::NOT_FOUND
        );
        assert!(name_of("__dsx/x").is_ok());
        assert!(name_of("x/__ds").is_ok());
    }

    #[test]
    fn another_stream_is_named_by_its_url_or_from_the_root() {
        let path = StreamPath {
            name: name_of("a").unwrap(),
            raw: "/v1/s/a".to_owned(),
            root: "/v1/s/".to_owned(),
            host: None,
        };
        assert_eq!(path.other("/v1/s/b%20c").unwrap().as_str(), "b c");
        assert_eq!(path.other("b/c").unwrap().as_str(), "b/c");
        assert!(path.other("/elsewhere/b").is_err());
    }
}
