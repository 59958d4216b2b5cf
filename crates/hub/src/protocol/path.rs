//! The URL of a stream: its name, and the root of the streams.

use axum::extract::{FromRequestParts, RawPathParams};
use headwater::{In, Operation, OperationInput, Problem, StatusCode};
use headwater_auth::Identity;
use headwater_log::{StreamName, limits::NAME_BYTES};
use http::{HeaderValue, Uri, request::Parts};
use memchr::memchr;
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;

use super::public_url::{self, Origin};
use crate::limits::PATH_SEGMENTS;

/// The first segment of reserved paths.
pub(crate) const RESERVED: &str = "__ds";

/// The path of gathers.
pub(crate) const GATHER: &str = "/gather";

/// The path of relays.
pub(crate) const RELAY: &str = "/relay";

/// The tag of the streams' operations.
pub(crate) const STREAMS: &str = "streams";

/// The stream that a request is for.
#[derive(Clone, Debug)]
pub(crate) struct StreamPath {
    pub(crate) name: StreamName,
    /// The request's URI as received.
    uri: Uri,
    origin: Origin,
}

/// The results of a route's guard, in the request's extensions for its handler. They are one entry: each
/// costs an allocation.
#[derive(Clone)]
pub(crate) struct Guarded {
    /// The sender of the request. `None` if the hub has no authorization.
    pub(crate) identity: Option<Identity>,
    /// The stream that the request is for, until the handler takes it.
    pub(crate) path: Option<StreamPath>,
}

impl StreamPath {
    /// Returns the stream's URL. `public` is the configured URL of the server, if any.
    pub(crate) fn url(&self, public: Option<&str>) -> Option<HeaderValue> {
        HeaderValue::try_from(self.origin.url(public, self.uri.path())).ok()
    }

    /// Returns the stream that a header names, by its path on this server or by the path relative
    /// to the root.
    pub(crate) fn other(&self, path: &str) -> Result<StreamName, Problem> {
        check_escape(path)?;
        let path = percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| Problem::bad_request("the path of a stream is UTF-8"))?;
        let own = percent_decode_str(self.uri.path()).decode_utf8_lossy();
        let root = own.strip_suffix(self.name.as_str()).unwrap_or("/");
        match path.strip_prefix(root) {
            Some(name) => name_of(name),
            None if path.starts_with('/') => Err(Problem::bad_request(format!(
                "{path:?} is not under {root:?}, where the streams of this server are"
            ))),
            None => name_of(&path),
        }
    }

    /// Returns the stream that a request is for. A guard of the route, which needs it too, leaves it in
    /// [`Guarded`].
    ///
    /// # Errors
    /// The path isn't UTF-8, or is no name of a stream: 400; 414 if it is too long.
    pub(crate) async fn of(parts: &mut Parts) -> Result<Self, Problem> {
        let guarded = parts.extensions.get_mut::<Guarded>();
        if let Some(path) = guarded.and_then(|guarded| guarded.path.take()) {
            return Ok(path);
        }
        let params = RawPathParams::from_request_parts(parts, &()).await;
        let params = params.map_err(|_| Problem::bad_request("the path of a stream is UTF-8"))?;
        let path = params.iter().find(|(name, _)| *name == "path");
        let (_, path) =
            path.ok_or_else(|| Problem::not_found("the path of a stream is missing"))?;
        if path.len() > NAME_BYTES {
            return Err(Problem::new(StatusCode::URI_TOO_LONG)
                .detail(format!(
                    "the path of a stream has {} bytes; the limit is {NAME_BYTES}",
                    path.len()
                ))
                .with("limit", NAME_BYTES));
        }
        Ok(Self {
            name: name_of(path)?,
            uri: public_url::uri(parts).clone(),
            origin: Origin::of_request(parts),
        })
    }
}

/// Checks that the path and the query of a URI can be decoded in one way.
///
/// # Errors
/// A percent sign isn't followed by two hexadecimal digits (RFC 3986 §2.1).
pub(crate) fn check_escapes(uri: &Uri) -> Result<(), Problem> {
    check_escape(uri.path())?;
    uri.query().map_or(Ok(()), check_escape)
}

fn check_escape(text: &str) -> Result<(), Problem> {
    let mut rest = text;
    while let Some(at) = memchr(b'%', rest.as_bytes()) {
        rest = &rest[at..];
        match rest.as_bytes() {
            [_, high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = &rest[3..];
            }
            _ => {
                let found: String = rest.chars().take(3).collect();
                return Err(Problem::bad_request(format!(
                    "a percent sign in a URL is followed by two hexadecimal digits, and {found:?} isn't that: the \
                     sign itself is %25"
                )));
            }
        }
    }
    Ok(())
}

/// Parses the path relative to the root as a stream's name.
///
/// # Errors
/// It contains an empty segment, `.` or `..` as a segment, or a control character; or it is too
/// long, or is reserved.
pub(crate) fn name_of(path: &str) -> Result<StreamName, Problem> {
    let name = StreamName::new(path).map_err(|error| {
        let problem = Problem::bad_request(error.to_string());
        match error.limit() {
            Some(limit) => problem.with("limit", limit),
            None => problem,
        }
    })?;
    if path.split('/').next() == Some(RESERVED) {
        return Err(Problem::not_found(format!(
            "paths under {RESERVED} are the hub's own"
        )));
    }
    if path
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        let detail = "a stream's path has no empty, \".\" or \"..\" segments";
        return Err(Problem::bad_request(detail));
    }
    Ok(name)
}

/// Returns the name of a stream that is about to be created at a path.
///
/// # Errors
/// Errors of [`name_of`] and [`check_new`].
pub(crate) fn new_name_of(path: &str) -> Result<StreamName, Problem> {
    let name = name_of(path)?;
    check_new(&name)?;
    Ok(name)
}

/// Checks the name of a stream that is about to be created. Existing streams may have other names.
///
/// # Errors
/// It has too many segments, or a `*`: no pattern would match it alone.
pub(crate) fn check_new(name: &StreamName) -> Result<(), Problem> {
    if name.as_str().contains('*') {
        let detail = "a stream's path has no `*`, which patterns of `/events`, subscriptions and grants use as a wildcard";
        return Err(Problem::bad_request(detail));
    }
    let segments = name.as_str().split('/').count();
    if segments > PATH_SEGMENTS {
        let detail = format!(
            "a stream's path has at most {PATH_SEGMENTS} segments, and this one has {segments}"
        );
        return Err(Problem::bad_request(detail).with("limit", PATH_SEGMENTS));
    }
    Ok(())
}

impl<S: Send + Sync> FromRequestParts<S> for StreamPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts).await
    }
}

impl OperationInput for StreamPath {
    fn describe(operation: &mut Operation) {
        operation.tag(STREAMS);
        operation.parameters::<Described>(In::Path);
    }
}

/// The path parameter in the OpenAPI document.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Described {
    /// The name of the stream: `orders`, or several segments, `shops/7/orders`. At most 1,024
    /// bytes and 128 segments. No segment may be `.`, `..` or empty, and the first one may not be `__ds`.
    /// The name of a new stream has no `*`.
    path: String,
}

/// Returns `true` if a stream's name is reserved for the hub. Such a stream can't be reached by a
/// path, listed or followed.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.split('/').next() == Some(RESERVED)
}

/// Checks that a pattern can match streams of clients.
///
/// # Errors
/// It has only the hub's own streams, which never match.
pub(crate) fn check_pattern(text: &str) -> Result<(), String> {
    match is_reserved(text) {
        true => Err(format!(
            "{text:?} matches nothing: streams under {RESERVED} are the hub's own"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use headwater::StatusCode;

    use super::*;

    #[test]
    fn a_path_with_a_special_segment_is_refused() {
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
    fn the_number_of_segments_is_limited() {
        let longest = vec!["a"; PATH_SEGMENTS].join("/");
        assert!(check_new(&name_of(&longest).unwrap()).is_ok());
        let longer = name_of(&format!("{longest}/a")).unwrap();
        let problem = check_new(&longer).unwrap_err();
        assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
        assert!(
            problem
                .to_string()
                .contains("at most 128 segments, and this one has 129"),
            "{problem}"
        );
    }

    #[test]
    fn a_new_stream_has_no_star_in_its_name() {
        for bad in ["*", "a/*", "a*", "**", "a/b*c"] {
            let problem = check_new(&name_of(bad).unwrap()).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{bad}");
            assert!(problem.to_string().contains("wildcard"), "{problem}");
        }
        assert!(check_new(&name_of("a/✱").unwrap()).is_ok());
    }

    #[test]
    fn a_percent_sign_is_followed_by_two_hexadecimal_digits() {
        let check = |uri: &str| check_escapes(&uri.parse().unwrap()).map_err(|p| p.to_string());
        for good in ["/a", "/a%20b%C3%a4", "/a?b=%25", "/?%00", "/%25zz"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, found) in [
            ("/zz%zz", "\"%zz\""),
            ("/a%", "\"%\""),
            ("/a%2", "\"%2\""),
            ("/%%20", "\"%%2\""),
            ("/%20%2g", "\"%2g\""),
            ("/a?b=%x1", "\"%x1\""),
            ("/a?100%", "\"%\""),
            ("/a?b=%+1", "\"%+1\""),
        ] {
            let said = check(bad).unwrap_err();
            assert!(said.contains(found), "{bad}: {said}");
        }
        // Three bytes that aren't three characters.
        assert!(check_escape("%\u{e4}\u{e4}").is_err());
    }

    #[test]
    fn reserved_paths_are_not_streams() {
        assert_eq!(name_of("__ds").unwrap_err().status(), StatusCode::NOT_FOUND);
        assert_eq!(
            name_of("__ds/x").unwrap_err().status(),
            StatusCode::NOT_FOUND
        );
        assert!(name_of("__dsx/x").is_ok());
        assert!(name_of("x/__ds").is_ok());
    }

    #[test]
    fn another_stream_is_named_by_its_url_path_or_relative_to_the_root() {
        let path = StreamPath {
            name: name_of("a").unwrap(),
            uri: Uri::from_static("/v1/s/a"),
            origin: Origin::of_request(&http::Request::new(()).into_parts().0),
        };
        assert_eq!(path.other("/v1/s/b%20c").unwrap().as_str(), "b c");
        assert_eq!(path.other("b/c").unwrap().as_str(), "b/c");
        assert!(path.other("/elsewhere/b").is_err());
        assert!(path.other("b%zz").is_err());
    }
}
