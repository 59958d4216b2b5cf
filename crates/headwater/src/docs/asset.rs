//! Files served from memory.

use std::{
    hash::{DefaultHasher, Hasher},
    io::Write as _,
    sync::{LazyLock, Once, OnceLock},
};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
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

/// Makes V8 compile all functions of the script on a background thread while it loads. Without it,
/// each function is parsed and compiled on the page's main thread at its first call, which takes
/// twice as long.
const COMPILE_HINT: &[u8] = b"//# allFunctionsCalledOnLoad\n";

/// A large file that is served compressed once the compression is done.
pub(super) struct Script {
    plain: Asset,
    gzip: OnceLock<Asset>,
    compressing: Once,
}

/// Cache lifetime, one year, of a URL that contains its content's hash.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

impl Script {
    /// Returns the file in an encoding that the client accepts, or 304 if it has the current
    /// version. A request with the current version in its query may be cached permanently.
    pub(super) fn response(&'static self, request: &HeaderMap, query: Option<&str>) -> Response {
        self.compress();
        let gzip = self.gzip.get().filter(|_| accepts_gzip(request));
        let is_gzip = gzip.is_some();
        let mut response = gzip.unwrap_or(&self.plain).response(request);
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
        let etag = self.plain.etag.to_str().unwrap_or_default();
        format!("v={}", etag.trim_matches('"'))
    }

    /// Starts the compression in the background on the first call. Until it is done, the file is
    /// served uncompressed.
    pub(super) fn compress(&'static self) {
        self.compressing.call_once(|| {
            let compress = || {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                let compressed = encoder
                    .write_all(&self.plain.body)
                    .and_then(|()| encoder.finish());
                if let Ok(compressed) = compressed {
                    let _ = self
                        .gzip
                        .set(Asset::new(super::JAVASCRIPT, compressed.into()));
                }
            };
            // Without a thread, the file stays uncompressed.
            let _ = std::thread::Builder::new()
                .name("headwater-docs".to_owned())
                .spawn(compress);
        });
    }

    #[cfg(test)]
    pub(super) fn is_compressed(&self) -> bool {
        self.gzip.get().is_some()
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

/// Returns the script of the reference, or `None` if the crate that bundles it doesn't contain it.
///
/// It is copied once, on the first call, because the crate doesn't return a reference to its bytes.
pub(super) fn scalar() -> Option<&'static Script> {
    static SCRIPT: LazyLock<Option<Script>> = LazyLock::new(|| {
        let script = scalar_api_reference::get_asset("scalar.js")?;
        let body = [COMPILE_HINT, &script].concat();
        Some(Script {
            plain: Asset::new(super::JAVASCRIPT, body.into()),
            gzip: OnceLock::new(),
            compressing: Once::new(),
        })
    });
    SCRIPT.as_ref()
}
