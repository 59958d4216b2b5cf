//! Resolution of a `$ref` within its document.

use std::collections::HashMap;

use jsonschema::Draft;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Anchors and base URI of a document, to resolve references.
pub(super) struct Names<'d> {
    root: &'d str,
    anchors: HashMap<&'d str, String>,
    /// If `true`, a part of the document has its own URI, so that references depend on their
    /// position.
    is_compound: bool,
}

impl<'d> Names<'d> {
    pub(super) fn of(document: &'d Value, draft: Draft) -> Self {
        let id = if draft == Draft::Draft4 { "id" } else { "$id" };
        let mut names = Self {
            root: document.get(id).and_then(Value::as_str).unwrap_or_default(),
            anchors: HashMap::new(),
            is_compound: false,
        };
        names.gather(document, "", id);
        names
    }

    fn gather(&mut self, value: &'d Value, pointer: &str, id: &str) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.gather(item, &format!("{pointer}/{index}"), id);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => {
                            self.anchors.insert(anchor, pointer.to_owned());
                        }
                        (name, Value::String(_)) if name == id && !pointer.is_empty() => {
                            self.is_compound = true;
                        }
                        _ => self.gather(member, &format!("{pointer}/{}", escape(name)), id),
                    }
                }
            }
            _ => {}
        }
    }

    /// Returns the JSON Pointer to a reference's target.
    pub(super) fn pointer_of(&self, reference: &str) -> Option<String> {
        if self.is_compound {
            return None;
        }
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        if !uri.is_empty() && uri != self.root.trim_end_matches('#') {
            return None;
        }
        let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return Some(fragment.into_owned());
        }
        self.anchors.get(&*fragment).cloned()
    }
}

/// Escapes a name as a token of a JSON Pointer (RFC 6901 §3).
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
