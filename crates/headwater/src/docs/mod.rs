//! The pages that document an app and play its streams: `/docs` and `/docs/play`.
//!
//! All files are served from the binary, and each page's `Content-Security-Policy` forbids requests
//! to other hosts. The pages read the app's `openapi.json`. Every URL in them is relative, so that
//! an app can be mounted under a prefix.
//!
//! The player is plain HTML, CSS and JavaScript modules in `assets/`, served unchanged. The modules
//! that don't use the DOM (parsers, document, request, snippets) are tested with Node, in `tests/`.

mod asset;
mod overview;

use std::sync::{Arc, LazyLock, OnceLock};

use axum::{
    Router,
    extract::Request,
    response::{Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use self::asset::Asset;

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Policy of the reference. Scalar adds inline styles to the page, and reads files that a user
/// selects for a request body as `blob:`.
const REFERENCE_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data: blob:; \
    font-src 'self' data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self'";

/// Policy of the player.
const PLAYER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self'";

macro_rules! assets {
    ($($content_type:ident $name:literal,)*) => {
        [$(($name, $content_type, include_bytes!(concat!("assets/", $name)))),*]
    };
}

const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Files that the pages load, by their name under `/docs/assets/`.
const ASSETS: &[(&str, &str, &[u8])] = &assets![
    CSS "play.css",
    CSS "reference.css",
    SVG "icon.svg",
    JAVASCRIPT "copy.mjs",
    JAVASCRIPT "decoder.mjs",
    JAVASCRIPT "document.mjs",
    JAVASCRIPT "dom.mjs",
    JAVASCRIPT "fields.mjs",
    JAVASCRIPT "form.mjs",
    JAVASCRIPT "formats.mjs",
    JAVASCRIPT "ids.mjs",
    JAVASCRIPT "json-array.mjs",
    JAVASCRIPT "json-scan.mjs",
    JAVASCRIPT "json-seq.mjs",
    JAVASCRIPT "json-text.mjs",
    JAVASCRIPT "json-view.mjs",
    JAVASCRIPT "lines.mjs",
    JAVASCRIPT "list.mjs",
    JAVASCRIPT "main.mjs",
    JAVASCRIPT "meter.mjs",
    JAVASCRIPT "notice.mjs",
    JAVASCRIPT "reference.mjs",
    JAVASCRIPT "request.mjs",
    JAVASCRIPT "schema.mjs",
    JAVASCRIPT "session.mjs",
    JAVASCRIPT "snippets.mjs",
    JAVASCRIPT "sse.mjs",
    JAVASCRIPT "theme.mjs",
];

/// Returns the routes of both pages, for an app that serves `document` at `/openapi.json`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(document: Value) -> Router<S> {
    let reference = Arc::new((document, OnceLock::new()));
    let reference = async move |headers: HeaderMap| {
        let (document, page) = &*reference;
        let page: &Asset = page.get_or_init(|| {
            let version = asset::scalar().version();
            let page = overview::page(document, &format!("docs/scalar.js?{version}"));
            Asset::new(HTML, page.into())
        });
        page.page(&headers, REFERENCE_POLICY)
    };
    static PLAYER: LazyLock<Asset> =
        LazyLock::new(|| Asset::new(HTML, Bytes::from_static(include_bytes!("assets/play.html"))));
    static FILES: LazyLock<Vec<(&str, Asset)>> = LazyLock::new(|| {
        let asset = |&(name, content_type, body)| {
            (name, Asset::new(content_type, Bytes::from_static(body)))
        };
        ASSETS.iter().map(asset).collect()
    });
    let mut router = Router::new()
        .route("/docs", get(reference))
        .route(
            "/docs/play",
            get(async |headers: HeaderMap| PLAYER.page(&headers, PLAYER_POLICY)),
        )
        // The pages' URLs are relative to paths without a trailing slash.
        .route("/docs/", get(async || Redirect::permanent("../docs")))
        .route("/docs/play/", get(async || Redirect::permanent("../play")))
        .route("/docs/scalar.js", get(scalar));
    for (name, asset) in FILES.iter() {
        router = router.route(
            &format!("/docs/assets/{name}"),
            get(async |headers: HeaderMap| asset.response(&headers)),
        );
    }
    router
}

async fn scalar(request: Request) -> Response {
    asset::scalar().response(request.headers(), request.uri().query())
}

#[cfg(test)]
mod tests;
