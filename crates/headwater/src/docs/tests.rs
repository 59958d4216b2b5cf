use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower_service::Service as _;

use super::*;

async fn get_with(path: &str, known: Option<&str>) -> Response {
    let mut request = Request::get(path);
    if let Some(known) = known {
        request = request.header(header::IF_NONE_MATCH, known);
    }
    let request = request.body(Body::empty()).unwrap();
    let Ok(response) = routes::<()>(document()).call(request).await;
    response
}

/// Returns a document with one stream.
fn document() -> Value {
    let items = json!({"content": {"application/x-ndjson": {"itemSchema": {}}}});
    json!({"paths": {"/ticks": {"get": {"operationId": "ticks", "responses": {"200": items}}}}})
}

async fn body(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

fn value(response: &Response, name: header::HeaderName) -> &str {
    response.headers()[name].to_str().unwrap()
}

/// Returns the targets of `href`, `src` and `data-script` in a page.
fn references(html: &str) -> Vec<&str> {
    let of = |attribute| html.split(attribute).skip(1);
    of(" href=\"")
        .chain(of(" src=\""))
        .chain(of(" data-script=\""))
        .filter_map(|rest| rest.split('"').next())
        .filter(|target| !target.starts_with('#'))
        .collect()
}

#[tokio::test]
async fn every_file_is_served_with_its_type_and_a_validator() {
    let pages = [
        ("/docs", HTML),
        ("/docs/play", HTML),
        ("/docs/scalar.js", JAVASCRIPT),
    ];
    let files = ASSETS
        .iter()
        .map(|(name, content_type, _)| (format!("/docs/assets/{name}"), *content_type));
    for (path, content_type) in pages
        .map(|(path, kind)| (path.to_owned(), kind))
        .into_iter()
        .chain(files)
    {
        let response = get_with(&path, None).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(
            value(&response, header::CONTENT_TYPE),
            content_type,
            "{path}"
        );
        assert_eq!(value(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(value(&response, header::CACHE_CONTROL), "no-cache");
        let etag = value(&response, header::ETAG).to_owned();
        assert!(!body(response).await.is_empty(), "{path}");

        let again = get_with(&path, Some(&format!("\"other\", W/{etag}"))).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert_eq!(value(&again, header::ETAG), etag);
        assert!(body(again).await.is_empty());

        let other = get_with(&path, Some("\"other\"")).await;
        assert_eq!(other.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn no_two_files_share_a_validator() {
    let mut seen = std::collections::HashSet::new();
    for (name, ..) in ASSETS {
        let response = get_with(&format!("/docs/assets/{name}"), None).await;
        assert!(
            seen.insert(value(&response, header::ETAG).to_owned()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_policies_forbid_other_hosts_and_the_players_forbids_inline_scripts() {
    for (path, inline_style) in [("/docs", true), ("/docs/play", false)] {
        let response = get_with(path, None).await;
        let policy = value(&response, header::CONTENT_SECURITY_POLICY);
        let sources: Vec<_> = policy.split(';').map(str::trim).collect();
        assert!(sources.contains(&"default-src 'none'"), "{path}");
        assert!(sources.contains(&"script-src 'self'"), "{path}");
        assert!(sources.contains(&"connect-src 'self'"), "{path}");
        assert!(
            !policy.contains("http") && !policy.contains('*') && !policy.contains("unsafe-eval")
        );
        assert_eq!(policy.contains("unsafe-inline"), inline_style, "{path}");
    }
}

#[tokio::test]
async fn every_url_in_a_page_is_relative_and_leads_to_a_file() {
    for page in ["/docs", "/docs/play"] {
        let html = body(get_with(page, None).await).await;
        let html = std::str::from_utf8(&html).unwrap();
        assert!(
            !html.contains("style=\"") && !html.contains("onclick"),
            "{page}"
        );
        let found = references(html);
        assert!(found.len() > 2, "{page}: {found:?}");
        for target in found {
            assert!(
                !target.starts_with('/') && !target.contains("://"),
                "{page}: {target}"
            );
            // The pages are at `/` and `/docs/`.
            let target = target.split('#').next().unwrap();
            let path = match (page, target.strip_prefix("../")) {
                ("/docs", _) => format!("/{target}"),
                (_, Some(above)) => format!("/{above}"),
                (_, None) => format!("/docs/{target}"),
            };
            if path != "/openapi.json" {
                assert_eq!(
                    get_with(&path, None).await.status(),
                    StatusCode::OK,
                    "{page}: {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn every_module_that_a_module_imports_is_served() {
    let names: Vec<_> = ASSETS.iter().map(|(name, ..)| *name).collect();
    let mut imports = 0;
    for (name, _, text) in ASSETS.iter().filter(|(name, ..)| name.ends_with(".mjs")) {
        let text = std::str::from_utf8(text).unwrap();
        for import in text.split("from \"./").skip(1) {
            let import = import.split('"').next().unwrap();
            assert!(names.contains(&import), "{name} imports {import}");
            imports += 1;
        }
    }
    assert!(imports > 20);
}

#[tokio::test]
async fn a_trailing_slash_redirects_to_the_page() {
    for (path, target) in [("/docs/", "../docs"), ("/docs/play/", "../play")] {
        let response = get_with(path, None).await;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(value(&response, header::LOCATION), target);
    }
}

#[tokio::test]
async fn the_pages_work_under_a_prefix() {
    let mut app: Router = Router::new().nest("/{tenant}/admin", routes(document()));
    for path in [
        "/a/admin/docs",
        "/a/admin/docs/play",
        "/a/admin/docs/assets/main.mjs",
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let Ok(response) = app.call(request).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_references_script_is_prefixed_with_a_compile_hint() {
    let script = body(get_with("/docs/scalar.js", None).await).await;
    let bundled = scalar_api_reference::get_asset("scalar.js").unwrap();
    let rest = script
        .strip_prefix(b"//# allFunctionsCalledOnLoad\n")
        .unwrap();
    assert!(rest == bundled);
}

#[tokio::test]
async fn the_references_page_lists_the_operations_without_its_script() {
    let html = body(get_with("/docs", None).await).await;
    let html = std::str::from_utf8(&html).unwrap();
    assert!(html.contains("<code>/ticks</code>"), "{html}");
    assert!(html.contains("href=\"docs/play#ticks\""), "{html}");
    // The module loads the script after it has drawn the list.
    assert!(!html.contains("src=\"docs/scalar.js"), "{html}");
}

async fn script(query: &str, accept_encoding: &str) -> Response {
    let request = Request::get(format!("/docs/scalar.js{query}"))
        .header(header::ACCEPT_ENCODING, accept_encoding)
        .body(Body::empty())
        .unwrap();
    let Ok(response) = routes::<()>(document()).call(request).await;
    response
}

#[tokio::test]
async fn the_references_script_is_compressed_and_immutable() {
    let html = body(get_with("/docs", None).await).await;
    let html = std::str::from_utf8(&html).unwrap();
    let (_, url) = html.split_once("data-script=\"docs/scalar.js").unwrap();
    let query = url.split('"').next().unwrap().to_owned();
    let plain = script(&query, "identity, gzip;q=0").await;
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    assert!(value(&plain, header::CACHE_CONTROL).contains("immutable"));
    assert_eq!(value(&plain, header::VARY), "accept-encoding");
    let gzip = script(&query, "br, gzip").await;
    assert_eq!(value(&gzip, header::CONTENT_ENCODING), "gzip");
    assert!(value(&gzip, header::CACHE_CONTROL).contains("immutable"));
    assert_ne!(value(&gzip, header::ETAG), value(&plain, header::ETAG));
    let other = script("?v=other", "gzip").await;
    assert_eq!(value(&other, header::CACHE_CONTROL), "no-cache");
    let (plain, gzip) = (body(plain).await, body(gzip).await);
    assert!(
        gzip.len() < plain.len() / 3,
        "{} of {}",
        gzip.len(),
        plain.len()
    );
    let mut unpacked = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(&gzip[..]), &mut unpacked).unwrap();
    assert!(unpacked == plain);
}
