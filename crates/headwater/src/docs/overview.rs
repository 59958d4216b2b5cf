//! The reference's page before its script loads: a list of operations from the document.

use std::fmt::Write as _;

use serde_json::Value;

/// Template of the page. Comments mark the positions of its parts.
const PAGE: &str = include_str!("assets/reference.html");

/// Methods of a path item, in the order of the reference.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// Renders the page of an app from its document. `script` is the URL of the reference's script.
pub(super) fn page(document: &Value, script: &str) -> String {
    let title = document["info"]["title"].as_str().unwrap_or_default();
    let title = if title.is_empty() {
        "API reference"
    } else {
        title
    };
    // Values from the document are escaped, so they can't contain a part's marker.
    PAGE.replace("<!--title-->", &escape(title))
        .replace("<!--script-->", &escape(script))
        .replace("<!--operations-->", &operations(document))
}

/// Renders the operations, grouped by their first tag, in the document's order of tags.
fn operations(document: &Value) -> String {
    let mut groups: Vec<(&str, String)> = vec![("", String::new())];
    let tags = document["tags"].as_array().into_iter().flatten();
    groups.extend(tags.filter_map(|tag| Some((tag["name"].as_str()?, String::new()))));
    let paths = document["paths"].as_object().into_iter().flatten();
    for (path, item) in paths {
        for method in METHODS {
            let operation = &item[method];
            if operation.is_null() {
                continue;
            }
            let tag = operation["tags"][0].as_str().unwrap_or_default();
            let group = match groups.iter_mut().position(|(name, _)| *name == tag) {
                Some(known) => known,
                None => {
                    groups.push((tag, String::new()));
                    groups.len() - 1
                }
            };
            row(path, method, operation, &mut groups[group].1);
        }
    }
    let mut html = String::new();
    for (tag, rows) in groups.iter().filter(|(_, rows)| !rows.is_empty()) {
        if !tag.is_empty() {
            let _ = writeln!(html, "<h2>{}</h2>", escape(tag));
        }
        let _ = writeln!(html, "<ul>\n{rows}</ul>");
    }
    html
}

fn row(path: &str, method: &str, operation: &Value, html: &mut String) {
    let is_deprecated = operation["deprecated"] == true;
    let class = if is_deprecated {
        " class=\"deprecated\""
    } else {
        ""
    };
    let method = method.to_ascii_uppercase();
    let _ = write!(
        html,
        "<li{class}><b>{method}</b> <code>{}</code>",
        escape(path)
    );
    if let Some(summary) = operation["summary"].as_str() {
        let _ = write!(html, " <span>{}</span>", escape(summary));
    }
    if streams(operation) {
        let id = operation["operationId"]
            .as_str()
            .map_or_else(|| format!("{method} {path}"), str::to_owned);
        let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let _ = write!(
            html,
            " <a href=\"docs/play#{}\" target=\"_blank\">Play</a>",
            id.replace('+', "%20")
        );
    }
    html.push_str("</li>\n");
}

/// Returns `true` if an operation responds with a stream of items.
fn streams(operation: &Value) -> bool {
    let replies = operation["responses"].as_object().into_iter().flatten();
    replies
        .filter(|(status, _)| status.starts_with('2'))
        .filter_map(|(_, reply)| reply["content"].as_object())
        .flatten()
        .any(|(_, media)| !media["itemSchema"].is_null())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_lists_the_operations_and_links_streams_to_the_player() {
        let items = json!({"content": {"application/x-ndjson": {"itemSchema": {}}}});
        let document = json!({
            "info": {"title": "A & B"},
            "tags": [{"name": "second"}, {"name": "first"}],
            "paths": {
                "/a/{id}": {
                    "get": {"tags": ["first"], "operationId": "a", "summary": "Reads <b>.", "responses": {"200": items}},
                    "delete": {"tags": ["first"], "deprecated": true},
                },
                "/b": {"post": {"tags": ["second"], "responses": {"200": {"content": {"application/json": {}}}}}},
                "/c": {"get": {"responses": {"200": items}}},
            },
        });
        let page = page(&document, "docs/scalar.js?v=1");
        assert!(
            page.contains("<title>A &amp; B</title>") && !page.contains("<!--"),
            "{page}"
        );
        assert!(page.contains("docs/scalar.js?v=1"), "{page}");
        let places = [
            "<b>GET</b> <code>/c</code> <a href=\"docs/play#GET%20%2Fc\"",
            "<h2>second</h2>",
            "<b>POST</b> <code>/b</code></li>",
            "<h2>first</h2>",
            "<b>GET</b> <code>/a/{id}</code> <span>Reads &lt;b&gt;.</span> <a href=\"docs/play#a\"",
            "<li class=\"deprecated\"><b>DELETE</b> <code>/a/{id}</code></li>",
        ];
        let places = places.map(|text| page.find(text).unwrap_or_else(|| panic!("{text}: {page}")));
        assert!(places.is_sorted(), "{places:?}");
    }
}
