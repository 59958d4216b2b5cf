//! Files that are served from memory.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::LazyLock,
};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
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

/// The script of the reference, from the crate that bundles it; `None` if that has it no more.
///
/// It is copied once, when it is first asked for: the crate gives no reference to its bytes.
pub(super) fn scalar() -> Option<&'static Asset> {
    static SCRIPT: LazyLock<Option<Asset>> = LazyLock::new(|| {
        let script = scalar_api_reference::get_asset("scalar.js")?;
        let body = [COMPILE_HINT, &script].concat();
        Some(Asset::new(super::JAVASCRIPT, body.into()))
    });
    SCRIPT.as_ref()
}
