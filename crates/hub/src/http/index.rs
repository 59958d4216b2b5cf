//! `GET /`: an overview of the hub, as a page for people and as JSON for programs.

use std::sync::Arc;

use axum::{
    extract::{OriginalUri, State},
    response::{Html, IntoResponse, Response},
};
use headwater::{Json, MediaRange, Operation, StatusCode, operation};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::openapi::{Answer, description};
use crate::{
    protocol::{path, public_url::Origin},
    state::HubState,
};

/// The path of the index.
pub(crate) const PATH: &str = "/";

/// The content security policy of the page: it may only have styles and images.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The endpoints of a hub. Paths are relative to the index.
#[derive(Debug, Serialize, JsonSchema)]
struct Index {
    /// The name of the software.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// The API's reference, with a player for streams.
    docs: &'static str,
    /// The API's description (OpenAPI 3.2).
    openapi: &'static str,
    /// The list of streams. Each stream has a path under it.
    streams: String,
    /// Many streams on one connection.
    events: &'static str,
    /// Many calls to other hosts at once.
    #[cfg(feature = "gather")]
    gather: &'static str,
    /// Calls to other hosts whose responses are streams.
    #[cfg(feature = "relay")]
    relay: &'static str,
    /// The liveness check.
    health: &'static str,
    /// The readiness check.
    ready: &'static str,
}

impl Index {
    fn of(core: &HubState) -> Self {
        Self {
            name: "Headwater",
            version: env!("CARGO_PKG_VERSION"),
            docs: "docs",
            openapi: "openapi.json",
            streams: core.options.root.trim_start_matches('/').to_owned(),
            events: "events",
            #[cfg(feature = "gather")]
            gather: path::GATHER.trim_start_matches('/'),
            #[cfg(feature = "relay")]
            relay: path::RELAY.trim_start_matches('/'),
            health: "healthz",
            ready: "readyz",
        }
    }

    /// Returns the page. `example` is the URL of a stream to try.
    fn page(&self, example: &str) -> String {
        let streams = escape(&self.streams);
        let example = escape(example);
        let Self { version, .. } = self;
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Headwater</title>
<link rel="icon" href="docs/assets/icon.svg" type="image/svg+xml">
<style>
body {{ margin: 10vh auto; max-width: 46rem; padding: 0 1.25rem; line-height: 1.6;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
dt {{ margin-top: .9rem; font-weight: 600; }}
dd {{ margin: 0; }}
pre {{ overflow-x: auto; padding: .9rem 1rem; border: 1px solid #8886; border-radius: 9px; }}
small {{ opacity: .7; }}
</style>
</head>
<body>
<h1>Headwater <small>{version}</small></h1>
<p>Durable streams by URL: publish with POST, follow from anywhere, live, late or after a break.</p>
<dl>
<dt><a href="docs">docs</a></dt><dd>The reference of the API, and <a href="docs/play">a player</a> for its streams.</dd>
<dt><a href="{streams}">{streams}</a></dt><dd>The list of streams, as JSON.</dd>
<dt><a href="events?stream=**">events</a></dt><dd>Many streams on one connection.</dd>
<dt><a href="healthz">healthz</a>, <a href="readyz">readyz</a></dt><dd>Whether the hub runs; whether streams can be read.</dd>
<dt><a href="openapi.json">openapi.json</a></dt><dd>The description of the API (OpenAPI 3.2).</dd>
</dl>
<p>Publish to a stream, which creates it, and follow it:</p>
<pre>curl {example} -H 'Stream-Create: true' -H 'Content-Type: application/json' -d '{{"hello":"world"}}'
curl -N {example} -H 'Accept: application/x-ndjson'</pre>
</body>
</html>
"#
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Returns `true` if a client names HTML. `*/*`, as sent by curl, doesn't.
fn wants_page(headers: &HeaderMap) -> bool {
    MediaRange::all(headers)
        .any(|range| range.precedence("text/html") == Some(2) && range.weight() > 0)
}

description! {
    /// The overview.
    pub(crate) Overview
    request {
        /// With `text/html` the response is a page for browsers.
        ACCEPT
    }
    replies {
        /// The hub's resources and their URLs
        OK: Index
    }
    also |operation: &mut Operation| {
        operation.raw_reply(StatusCode::OK, "text/html", "");
        operation.any_error();
    }
}

/// Returns an overview of the hub.
#[operation]
pub(crate) async fn index(
    State(core): State<Arc<HubState>>,
    OriginalUri(uri): OriginalUri,
    origin: Origin,
    headers: HeaderMap,
) -> Answer<Overview> {
    let index = Index::of(&core);
    let mut response: Response = if wants_page(&headers) {
        let prefix = uri.path().trim_end_matches('/');
        let example = match path::name_of("hello") {
            Ok(name) => origin.stream(&core.options, prefix, &name),
            Err(_) => String::new(),
        };
        let policy = HeaderValue::from_static(POLICY);
        let page = Html(index.page(&example));
        ([(header::CONTENT_SECURITY_POLICY, policy)], page).into_response()
    } else {
        Json(index).into_response()
    };
    const SHARED: [(HeaderName, HeaderValue); 2] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept")),
    ];
    response.headers_mut().extend(SHARED);
    response.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_only_for_clients_that_name_html() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            wants_page(&headers)
        };
        assert!(wants(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        ));
        assert!(wants("Text/HTML; Q=0.5"));
        for other in [
            "*/*",
            "",
            "application/json",
            "text/*",
            "text/html;q=0",
            "text/html; q=0.0",
        ] {
            assert!(!wants(other), "{other}");
        }
        assert!(!wants_page(&HeaderMap::new()));
    }
}
