//! Files that are served from memory.

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

    /// The file, or 304 if the client has it already.
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
        // Kept, but asked after: a new version of the server may bring other files under the same names.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    }

    /// The file as a page that may do what `policy` allows.
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

/// A validator that differs when the bytes do (RFC 9110 §8.8.3). It is strong: one URL has one
/// representation.
fn etag(body: &[u8]) -> HeaderValue {
    // Its keys are fixed, so that all processes of one build agree.
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    let text = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names this validator, by the weak comparison (RFC 9110 §13.1.2).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}

/// Tells V8 to compile every function of the script while it loads, on another thread. Without it each is
/// found, looked through and compiled only when it is called, which takes the page's thread twice as long.
const COMPILE_HINT: &[u8] = b"//# allFunctionsCalledOnLoad\n";

/// A large file that is served compressed, once it has been.
pub(super) struct Script {
    plain: Asset,
    gzip: OnceLock<Asset>,
    compressing: Once,
}

/// How long a file may be kept whose URL names its very bytes: a year.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

impl Script {
    /// The file as the client takes it, or 304 if it has it already. A request that names the version is for these bytes and no others.
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

    /// The query that names the version.
    pub(super) fn version(&self) -> String {
        let etag = self.plain.etag.to_str().unwrap_or_default();
        format!("v={}", etag.trim_matches('"'))
    }

    /// Has the file compressed beside everything else, the first time: until it is done it is served as it is.
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
            // Without a thread it stays as it is.
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

/// Whether `Accept-Encoding` names gzip, and doesn't weigh it with nothing (RFC 9110 §12.5.3).
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

/// The script of the reference, from the crate that bundles it; `None` if that has it no more.
///
/// It is copied once, when it is first asked for: the crate gives no reference to its bytes.
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
