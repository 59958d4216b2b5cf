//! Characters that some readers treat as line breaks although JSON and NDJSON don't.

use bytes::Bytes;
use memchr::memchr2;

/// Escapes U+0085, U+2028 and U+2029 in valid JSON. The text changes, its value doesn't.
///
/// The characters are valid in a JSON string (RFC 8259 §7), and only there. Python's
/// `str.splitlines`, which httpx's `iter_lines` uses, and Node's `readline` treat them as line
/// breaks and would cut a line of NDJSON. JSON without them isn't copied.
///
/// ```
/// use headwater_wire::json::escape_line_separators;
///
/// assert_eq!(escape_line_separators("\"a\u{2028}b\"".into()), r#""a\u2028b""#);
/// ```
#[must_use]
pub fn escape_line_separators(json: Bytes) -> Bytes {
    if first(&json).is_none() {
        return json;
    }
    let mut json = Vec::from(json);
    escape_from(&mut json, 0);
    json.into()
}

/// Returns `true` if the text has a character that [`escape_line_separators`] escapes.
#[must_use]
pub fn has_line_separators(text: &[u8]) -> bool {
    first(text).is_some()
}

/// Escapes like [`escape_line_separators`], in place, everything in `json` from `start` on.
pub(crate) fn escape_from(json: &mut Vec<u8>, start: usize) {
    let Some(found) = first(&json[start..]) else {
        return;
    };
    let rest = json.split_off(start + found.at);
    // At most, all the rest is separators.
    json.reserve(rest.len() + 16 * ESCAPE);
    let mut rest = &rest[..];
    while let Some(found) = first(rest) {
        json.extend_from_slice(&rest[..found.at]);
        json.extend_from_slice(found.escape);
        rest = &rest[found.at + found.len..];
    }
    json.extend_from_slice(rest);
}

/// Returns `true` if this byte can start a separator in UTF-8.
pub(crate) const fn is_lead(byte: u8) -> bool {
    byte & 0xdf == 0xc2
}

const ESCAPE: usize = 6;

struct Found {
    at: usize,
    len: usize,
    escape: &'static [u8; ESCAPE],
}

/// Returns the first separator.
fn first(text: &[u8]) -> Option<Found> {
    let mut from = 0;
    while let Some(at) = memchr2(0xc2, 0xe2, &text[from..]) {
        let at = from + at;
        let (len, escape) = match &text[at..] {
            [0xc2, 0x85, ..] => (2, br"\u0085"),
            [0xe2, 0x80, 0xa8, ..] => (3, br"\u2028"),
            [0xe2, 0x80, 0xa9, ..] => (3, br"\u2029"),
            _ => {
                from = at + 1;
                continue;
            }
        };
        return Some(Found { at, len, escape });
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            prop::sample::select(
                "\u{84}\u{85}\u{86}\u{2027}\u{2028}\u{2029}\u{202a}\u{a8}–\u{2085}\\\""
                    .chars()
                    .collect::<Vec<_>>()
            ),
            any::<char>(),
        ];
        prop::collection::vec(character, 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn the_value_is_unchanged_and_every_reader_sees_one_line(name in text(), text in text()) {
            let value = serde_json::json!({ &name: [&text, {"in": &text}], "k": text });
            let json = value.to_string();
            let escaped = escape_line_separators(json.clone().into());
            let escaped = str::from_utf8(&escaped).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(escaped).unwrap(), value);
            let has_separator = |text: &str| text.contains(['\u{85}', '\u{2028}', '\u{2029}']);
            prop_assert!(!has_separator(escaped));
            if !has_separator(&json) {
                prop_assert_eq!(escaped, json);
            }
        }
    }

    #[test]
    fn text_before_the_start_is_unchanged() {
        let mut json = "\u{2028}\"\u{2029}\u{85}\"".as_bytes().to_vec();
        escape_from(&mut json, 3);
        assert_eq!(json, "\u{2028}\"\\u2029\\u0085\"".as_bytes());
    }
}
