use crate::protocol::media_type::{essence, is_json};

/// The way in which a response is split into items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An event with its blank line. Comments and everything else before a blank line count, too.
    Sse,
    /// A line of JSON with its LF.
    Ndjson,
    /// An element of the array, or the value that is the whole body, each on one line.
    Json,
    /// UTF-8 as it arrives, not split within a character.
    Text,
    /// Bytes as they arrive.
    Bytes,
}

impl Kind {
    /// Returns the kind for the content type of a response. A type that is merely based on JSON is
    /// bytes, as it is to a stream: concatenated, its items have to be the document.
    pub(crate) fn of(content_type: &str) -> Self {
        let essence = essence(content_type);
        match &*essence {
            _ if is_json(content_type) => Self::Json,
            "text/event-stream" => Self::Sse,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::Ndjson,
            text if text.starts_with("text/") && is_utf8(content_type) => Self::Text,
            _ => Self::Bytes,
        }
    }
}

/// Returns `true` if text is in UTF-8, which is the default.
fn is_utf8(content_type: &str) -> bool {
    let mut parameters = content_type.split(';').skip(1);
    let charset = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    });
    charset.is_none_or(|charset| {
        let charset = charset.trim().trim_matches('"');
        ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|known| charset.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_determines_the_items() {
        for (content_type, kind) in [
            ("text/event-stream", Kind::Sse),
            ("Text/Event-Stream; charset=utf-8", Kind::Sse),
            ("application/x-ndjson", Kind::Ndjson),
            ("application/jsonl", Kind::Ndjson),
            ("application/json; charset=utf-8", Kind::Json),
            ("application/geo+json", Kind::Bytes),
            ("text/plain", Kind::Text),
            ("text/html; charset=\"UTF-8\"", Kind::Text),
            ("text/plain; charset=iso-8859-1", Kind::Bytes),
            ("application/octet-stream", Kind::Bytes),
            ("", Kind::Bytes),
        ] {
            assert_eq!(Kind::of(content_type), kind, "{content_type}");
        }
    }
}
