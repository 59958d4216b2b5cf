//! Files served from memory.

use std::{
    hash::{DefaultHasher, Hasher},
    io::Read as _,
    sync::{LazyLock, OnceLock},
};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// A file with its validator.
pub(super) struct Asset {
    content_type: &'static str,
    body: Bytes,
    etag: HeaderValue,
}

impl Asset {
    pub(super) fn new(content_type: &'static str, body: Bytes) -> Self {
        let etag = etag(&body);
        Self {
            content_type,
            body,
            etag,
        }
    }

    /// Returns the file, or 304 if the client has the current version.
    pub(super) fn response(&self, request: &HeaderMap) -> Response {
        let mut response = if is_known(request, &self.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            (
                [(header::CONTENT_TYPE, self.content_type)],
                self.body.clone(),
            )
                .into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        // Clients revalidate: a new version of the server may have different files under the same
        // names.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    }

    /// Returns the file as a page with the given `Content-Security-Policy`.
    pub(super) fn page(&self, request: &HeaderMap, policy: &'static str) -> Response {
        const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");
        let mut response = self.response(request);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy),
        );
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        response
    }
}

/// Returns a validator that depends on the content (RFC 9110 §8.8.3). It is strong: each URL has
/// one representation.
fn etag(body: &[u8]) -> HeaderValue {
    // The hasher's keys are fixed, so all processes of one build agree.
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    let text = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Returns `true` if `If-None-Match` contains this validator, by weak comparison (RFC 9110
/// §13.1.2).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}

/// A large file that is compressed in the binary.
pub(super) struct Script {
    gzip: Asset,
    /// For clients that don't accept gzip. It is decompressed for the first of them.
    plain: OnceLock<Asset>,
}

/// Cache lifetime, one year, of a URL that contains its content's hash.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

impl Script {
    /// Returns the file in an encoding that the client accepts, or 304 if it has the current
    /// version. A request with the current version in its query may be cached permanently.
    pub(super) fn response(&self, request: &HeaderMap, query: Option<&str>) -> Response {
        let is_gzip = accepts_gzip(request);
        let asset = match is_gzip {
            true => &self.gzip,
            false => self.plain(),
        };
        let mut response = asset.response(request);
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if is_gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if query.is_some_and(|query| query == self.version()) {
            headers.insert(header::CACHE_CONTROL, FOR_GOOD);
        }
        response
    }

    /// Returns the query that identifies the version.
    pub(super) fn version(&self) -> String {
        let etag = self.gzip.etag.to_str().unwrap_or_default();
        format!("v={}", etag.trim_matches('"'))
    }

    fn plain(&self) -> &Asset {
        self.plain.get_or_init(|| {
            let mut plain = Vec::new();
            let unpacked = GzDecoder::new(&*self.gzip.body).read_to_end(&mut plain);
            unpacked.expect("the build script compressed it");
            Asset::new(self.gzip.content_type, plain.into())
        })
    }
}

/// Returns `true` if `Accept-Encoding` contains gzip with a non-zero weight (RFC 9110 §12.5.3).
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| {
            part.to_ascii_lowercase()
                .strip_prefix("q=")?
                .parse::<f32>()
                .ok()
        });
        is_gzip && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// Returns the script of the reference.
pub(super) fn scalar() -> &'static Script {
    static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
        let gzip = include_bytes!(concat!(env!("OUT_DIR"), "/scalar.js.gz"));
        Script {
            gzip: Asset::new(super::JAVASCRIPT, Bytes::from_static(gzip)),
            plain: OnceLock::new(),
        }
    });
    &SCRIPT
}
