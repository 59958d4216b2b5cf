//! Media types: comparison, and the format that `Accept` asks for.

use std::{borrow::Cow, collections::BTreeSet};

use headwater::{MediaRange, Problem, StatusCode, query_parameter};
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::query::word;

/// The formats in which a stream can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Followed")]
pub(crate) enum Format {
    Sse,
    Ndjson,
}

impl Format {
    /// Returns the format that a query names.
    ///
    /// # Errors
    /// 400: it names none, or is given twice.
    pub(crate) fn named(query: Option<&str>) -> Result<Option<Self>, Problem> {
        let name = query_parameter(query, "format")?;
        name.map(|name| word("format", &name)).transpose()
    }
}

/// Returns the format that `Accept` names: the one with the greatest weight, and the first of
/// equals (RFC 9110 §12.5.1). `None` is the stream's own type, which a wildcard matches. For a
/// stream of events or lines, naming that format requests a live read.
///
/// # Errors
/// 406: neither the stream's type nor a format is acceptable.
pub(crate) fn accepted(headers: &HeaderMap, content_type: &str) -> Result<Option<Format>, Problem> {
    let own = essence(content_type);
    let named = |range: &MediaRange<'_>, media_type| range.precedence(media_type) == Some(2);
    let mut best: Option<(Option<Format>, u16)> = None;
    for range in MediaRange::all(headers) {
        let format = if named(&range, "text/event-stream") {
            Some(Format::Sse)
        } else if named(&range, "application/x-ndjson") || named(&range, "application/jsonl") {
            Some(Format::Ndjson)
        } else if named(&range, &own) {
            None
        } else {
            continue;
        };
        let weight = range.weight();
        if weight > 0 && best.is_none_or(|(_, known)| weight > known) {
            best = Some((format, weight));
        }
    }
    if let Some((format, _)) = best {
        return Ok(format);
    }
    let offered = [&*own, "text/event-stream", "application/x-ndjson"];
    let formats = [None, Some(Format::Sse), Some(Format::Ndjson)];
    let is_any = MediaRange::all(headers).next().is_none();
    let mut both = offered.into_iter().zip(formats);
    match both.find(|(media_type, _)| is_any || weight(headers, media_type) > 0) {
        Some((_, format)) => Ok(format),
        None => Err(unacceptable(&offered)),
    }
}

/// Returns the weight of a media type: that of the most specific range that matches it (RFC 9110 §12.5.1).
fn weight(headers: &HeaderMap, media_type: &str) -> u16 {
    let weights = MediaRange::all(headers)
        .filter_map(|range| Some((range.precedence(media_type)?, range.weight())));
    weights.max().map_or(0, |(_, weight)| weight)
}

/// Returns the refusal of a request that accepts none of these types.
pub(crate) fn unacceptable(offered: &[&str]) -> Problem {
    let list = offered.join(", ");
    Problem::new(StatusCode::NOT_ACCEPTABLE)
        .detail(format!(
            "none of the requested formats is offered; ask for one of {list} by Accept"
        ))
        .with("media_types", offered)
}

/// Returns a media type without its parameters, in lower case.
pub(crate) fn essence(content_type: &str) -> Cow<'_, str> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return essence.to_ascii_lowercase().into();
    }
    essence.into()
}

/// Returns `true` for a media type: a type, a subtype and parameters (RFC 9110 §8.3.1, §5.6.6).
pub(crate) fn is_media_type(text: &str) -> bool {
    parameters(text).is_some()
}

/// Returns the parameters of a media type, with their names in lower case and their values unquoted. `None` if
/// it isn't a media type.
fn parameters(text: &str) -> Option<BTreeSet<(String, String)>> {
    let mut parameters = BTreeSet::new();
    let mut rest = after_token(after_token(text)?.strip_prefix('/')?)?.trim_start();
    while !rest.is_empty() {
        rest = rest.strip_prefix(';')?.trim_start();
        // A parameter may be left out.
        if rest.is_empty() || rest.starts_with(';') {
            continue;
        }
        let after_name = after_token(rest)?;
        let name = rest.strip_suffix(after_name)?.to_ascii_lowercase();
        let value = after_name.strip_prefix('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let after = after_token(value)?;
                (value.strip_suffix(after)?.to_owned(), after)
            }
        };
        parameters.insert((name, value));
        rest = after.trim_start();
    }
    Some(parameters)
}

/// Returns the text after the token at its start, if one is there (RFC 9110 §5.6.2).
fn after_token(text: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let rest = text.trim_start_matches(is_part);
    (rest.len() < text.len()).then_some(rest)
}

/// Returns the content of a quoted string and the text after its closing quote (RFC 9110 §5.6.4).
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '"' => return Some((content, rest.as_str())),
            '\\' => content.push(rest.next()?),
            c => content.push(c),
        }
    }
}

/// Returns `true` if a stream's messages are JSON values. A type that is merely based on JSON is
/// bytes to the protocol.
pub(crate) fn is_json(content_type: &str) -> bool {
    const JSON: &str = "application/json";
    content_type == JSON || essence(content_type) == JSON
}

/// Returns `true` if a browser may run content of this type when it opens its URL: HTML, SVG and all other
/// XML.
///
/// Browsers parse a type leniently: up to a space or a parenthesis, and the last one of a list (MIME
/// Sniffing §4.4, Fetch §3.1). Therefore each part counts, wherever it stands.
pub(crate) fn is_active(content_type: &str) -> bool {
    let is_part = |c: char| !c.is_ascii_graphic() || ",;()<>\"'=".contains(c);
    content_type.split(is_part).any(|part| {
        let part = part.to_ascii_lowercase();
        let active = [
            "text/html",
            "text/xml",
            "text/xsl",
            "application/xml",
            // Its parts have types of their own.
            "multipart/x-mixed-replace",
        ];
        active.contains(&&*part) || part.ends_with("+xml")
    })
}

/// Returns `true` for lines of JSON, which are appended to a JSON stream as they arrive.
pub(crate) fn is_lines(content_type: &str) -> bool {
    matches!(
        &*essence(content_type),
        "application/x-ndjson" | "application/jsonl"
    )
}

/// Returns `true` if two content types are equal (RFC 9110 §8.3.1).
///
/// The order of parameters, quotes and the case of names don't count, nor does the case of a charset. UTF-8 is
/// the charset of a type without one: `fetch()` and clients in Python add it by themselves. All else counts.
pub(crate) fn same_type(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let parameters = |text| {
        let parameters = parameters(text)?.into_iter();
        let lowered = parameters.map(|(name, value)| match &*name {
            "charset" => (name, value.to_ascii_lowercase()),
            _ => (name, value),
        });
        let told = lowered
            .filter(|(name, value)| !(name == "charset" && matches!(&**value, "utf-8" | "utf8")));
        Some(told.collect::<BTreeSet<_>>())
    };
    essence(one) == essence(other)
        && parameters(one).is_some_and(|own| Some(own) == parameters(other))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::ACCEPT};

    use super::*;

    #[test]
    fn what_a_browser_runs_is_active_however_it_is_written() {
        for active in [
            "text/html",
            "Text/HTML; charset=utf-8",
            "text/html;charset=utf-8",
            "text/html (page)",
            " text/html",
            "text/plain, text/html",
            "application/json;x=\"y\",text/html",
            "application/xhtml+xml",
            "image/svg+xml",
            "application/atom+xml; type=feed",
            "text/xml",
            "application/xml",
            "text/xsl",
            "multipart/x-mixed-replace;boundary=a",
        ] {
            assert!(is_active(active), "{active}");
        }
        for inert in [
            "application/json",
            "text/plain; charset=utf-8",
            "text/event-stream",
            "application/x-ndjson",
            "application/octet-stream",
            "image/png",
            "text/html5",
            "application/xmlish",
            "",
        ] {
            assert!(!is_active(inert), "{inert}");
        }
    }

    #[test]
    fn a_media_type_has_a_type_a_subtype_and_parameters() {
        for good in [
            "text/plain",
            "application/vnd.api+json",
            "text/plain;charset=utf-8",
            "text/plain ; charset=\"utf-8\"; x=y",
            "text/plain; x=\"a;\\\"b\" ;",
            "text/plain;;x=y",
        ] {
            assert!(is_media_type(good), "{good}");
        }
        for bad in [
            "",
            "foo",
            "/",
            "text/",
            "/plain",
            "text/plain/x",
            "text /plain",
            "text/html (page)",
            "text/plain, text/html",
            "text/plain; x",
            "text/plain; x=",
            "text/plain; x=\"y",
            "text/plain; x=\"y\\\"",
            "text/plain; x=\"y\"z",
        ] {
            assert!(!is_media_type(bad), "{bad}");
        }
    }

    #[test]
    fn types_are_equal_with_equal_parameters_and_utf_8_is_the_default_charset() {
        let same = |one, other| {
            let (there, back) = (same_type(one, other), same_type(other, one));
            assert_eq!(there, back, "{one} {other}");
            there
        };
        for (one, other) in [
            ("text/plain", "Text/Plain"),
            ("text/plain", "text/plain;charset=UTF-8"),
            ("text/plain; charset=utf8", "text/plain; charset=\"utf-8\""),
            ("application/json", "application/json; charset=utf-8"),
            (
                "text/plain; charset=ISO-8859-1",
                "text/plain;Charset=iso-8859-1",
            ),
            ("a/b; x=1; y=2", "a/b ;Y=2;; X=\"\\1\""),
            ("a/b; x=\"p;q\"", "a/b;x=\"p\\;q\";"),
            // That of a stream of an earlier version.
            ("a/b; x", "a/b; x"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("text/plain", "text/html"),
            ("text/plain", "text/plain; charset=iso-8859-1"),
            ("text/plain", "text/plain; charset=us-ascii"),
            ("text/plain; charset=utf-8", "text/plain; charset=utf-16"),
            ("text/plain; charset=utf-8", "text/plain; format=flowed"),
            (
                "multipart/mixed; boundary=AbC",
                "multipart/mixed; boundary=abc",
            ),
            ("multipart/mixed; boundary=a", "multipart/mixed"),
            ("a/b; x=1", "a/b; x=1; y=2"),
            ("a/b; x=utf-8", "a/b"),
            ("a/b; x", "a/b; X"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_format_is_chosen_if_it_is_named() {
        let accepted = |accept: &'static str, content_type| {
            let accept = HeaderValue::from_static(accept);
            let accepted = accepted(&HeaderMap::from_iter([(ACCEPT, accept)]), content_type);
            accepted.map_err(|problem| problem.status())
        };
        let (sse, lines) = (Ok(Some(Format::Sse)), Ok(Some(Format::Ndjson)));
        let json = "application/json; charset=utf-8";
        assert_eq!(accepted("text/event-stream", json), sse);
        assert_eq!(
            accepted("application/x-ndjson;q=0.5, text/html", json),
            lines
        );
        assert_eq!(accepted("application/jsonl, */*", json), lines);
        assert_eq!(
            accepted("application/json, text/event-stream", json),
            Ok(None)
        );
        for unwanted in [
            "text/event-stream;q=0",
            "image/png",
            "*/*;q=0",
            "text/html, text/plain",
        ] {
            assert_eq!(
                accepted(unwanted, json),
                Err(StatusCode::NOT_ACCEPTABLE),
                "{unwanted}"
            );
        }
        assert_eq!(accepted("text/*", json), sse);
        assert_eq!(accepted("application/json;q=0, application/*", json), lines);
        assert_eq!(accepted("application/*", json), Ok(None));
        assert_eq!(accepted("", json), Ok(None));
        assert_eq!(accepted("*/*", json), Ok(None));
        assert_eq!(accepted("text/event-stream;q=2", json), Ok(None));
        assert_eq!(
            accepted("application/x-ndjson", "application/x-ndjson"),
            lines
        );
        assert_eq!(accepted("*/*", "text/event-stream"), Ok(None));
    }
}
