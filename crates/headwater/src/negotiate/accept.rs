//! Selection of the response's format: `Accept` (RFC 9110 §12.5.1) or `?format=`.

use headwater_wire::Format;
use http::{HeaderValue, StatusCode, Uri};

use super::MediaRange;
use crate::{BadParameter, Problem, query_parameter};

/// Query parameter for clients that can't set headers.
const PARAMETER: &str = "format";

/// Selects the format of the response.
///
/// # Errors
/// The response lists the available formats: 406 if `Accept` permits none of them, 400 if the query names no format.
pub(crate) fn choose<'a>(
    uri: &Uri,
    accept: impl Iterator<Item = &'a HeaderValue>,
) -> Result<Format, Refusal> {
    if let Some(name) = query_parameter(uri.query(), PARAMETER)? {
        return Format::from_name(&name).ok_or_else(|| Refusal::Unknown(name.into_owned()));
    }
    let ranges: Vec<_> = accept.flat_map(MediaRange::of_value).collect();
    // "If no Accept header field is present […] the user agent will accept any media type". A
    // header without a media range is equivalent.
    if ranges.is_empty() {
        return Ok(Format::Ndjson);
    }
    // A browser's address bar: the browser displays text as it arrives, but offers to save NDJSON.
    let page = ranges
        .iter()
        .any(|range| range.precedence("text/html") == Some(2));
    let preferred = if page { Format::Text } else { Format::Ndjson };
    Format::ALL
        .into_iter()
        .filter_map(|format| Some((format, Wish::of(format, &ranges)?)))
        .max_by_key(|(format, wish)| {
            (
                *wish,
                *format == preferred,
                std::cmp::Reverse(rank(*format)),
            )
        })
        .map(|(format, _)| format)
        .ok_or(Refusal::Unwanted)
}

/// Returns the position of a format in the server's order of preference.
fn rank(format: Format) -> usize {
    Format::ALL
        .iter()
        .position(|other| *other == format)
        .unwrap_or(usize::MAX)
}

/// Reason that no format can be selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `?format=` names an unknown format.
    Unknown(String),
    /// `?format=` is given twice, or isn't UTF-8.
    Parameter(BadParameter),
    /// `Accept` permits no available format.
    Unwanted,
}

impl From<BadParameter> for Refusal {
    fn from(bad: BadParameter) -> Self {
        Self::Parameter(bad)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, what) = match refusal {
            Refusal::Unknown(name) => (
                StatusCode::BAD_REQUEST,
                format!("the format {name:?} doesn't exist"),
            ),
            Refusal::Parameter(bad) => (StatusCode::BAD_REQUEST, bad.to_string()),
            Refusal::Unwanted => (
                StatusCode::NOT_ACCEPTABLE,
                "none of the requested formats is offered".to_owned(),
            ),
        };
        let media_types: Vec<_> = Format::ALL
            .iter()
            .map(|format| format.media_types()[0])
            .collect();
        let names: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
        Self::new(status)
            .detail(format!(
                "{what}; ask for one of {} by Accept, or {} by ?{PARAMETER}=",
                media_types.join(", "),
                names.join(", "),
            ))
            .with("media_types", media_types)
            .with("formats", names)
    }
}

/// A client's preference for a format, ordered by weight, then by precision of the range, then by
/// position in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    weight: u16,
    precedence: u8,
    earliness: std::cmp::Reverse<usize>,
}

impl Wish {
    /// Returns the preference for a format. "The most specific reference has precedence" (§12.5.1):
    /// `text/plain;q=0, */*` excludes text.
    fn of(format: Format, ranges: &[MediaRange<'_>]) -> Option<Self> {
        let mut best: Option<Self> = None;
        for (place, range) in ranges.iter().enumerate() {
            for media in format.media_types() {
                let Some(precedence) = range.precedence(media) else {
                    continue;
                };
                // Wildcards of the same precedence don't order the formats.
                let place = if precedence == 2 { place } else { usize::MAX };
                let wish = Self {
                    weight: range.weight(),
                    precedence,
                    earliness: std::cmp::Reverse(place),
                };
                if best.is_none_or(|best| precedence > best.precedence) {
                    best = Some(wish);
                }
            }
        }
        best.filter(|wish| wish.weight > 0)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};
    use proptest::prelude::*;

    use super::*;

    fn check(accept: &str, expected: Option<Format>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        let chosen = choose(
            &Uri::from_static("/"),
            headers.get_all(header::ACCEPT).iter(),
        )
        .ok();
        assert_eq!(chosen, expected, "Accept: {accept}");
    }

    #[test]
    fn accept_selects_the_format() {
        use Format::*;
        for (accept, expected) in [
            ("", Some(Ndjson)),
            ("*/*", Some(Ndjson)),
            ("nonsense", Some(Ndjson)),
            ("text/event-stream", Some(Sse)),
            ("TEXT/Event-Stream", Some(Sse)),
            ("application/jsonl", Some(Ndjson)),
            ("application/json", Some(JsonArray)),
            ("application/json; charset=utf-8", Some(JsonArray)),
            ("application/json-seq", Some(JsonSeq)),
            ("application/*", Some(Ndjson)),
            ("text/*", Some(Sse)),
            ("text/plain, */*", Some(Text)),
            ("application/json, text/event-stream", Some(JsonArray)),
            ("text/event-stream, application/json", Some(Sse)),
            ("text/event-stream;q=0.5, application/json", Some(JsonArray)),
            (
                "text/event-stream;q=0.501, application/json;q=0.5",
                Some(Sse),
            ),
            ("text/event-stream;q=0.1, */*;q=0.9", Some(Ndjson)),
            ("*/*, application/x-ndjson;q=0", Some(Sse)),
            ("application/x-ndjson;q=0, */*", Some(Sse)),
            ("image/png", None),
            ("text/html", None),
            ("*/*;q=0", None),
            ("text/event-stream;q=2, text/plain;q=0.2", Some(Text)),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Some(Text),
            ),
        ] {
            check(accept, expected);
        }
    }

    proptest! {
        #[test]
        fn any_header_and_query_is_handled(accept in any::<Vec<u8>>(), query in "[ -~]*") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&accept) {
                headers.insert(header::ACCEPT, value);
            }
            if let Ok(uri) = format!("/?{query}").parse() {
                let _ = choose(&uri, headers.get_all(header::ACCEPT).iter());
            }
        }

        #[test]
        fn the_selected_format_has_the_highest_weight(weights in prop::array::uniform5(0_u16..=1000)) {
            let accept = Format::ALL
                .iter()
                .zip(weights)
                .map(|(format, weight)| {
                    let media = format.media_types()[0];
                    format!("{media};q={}.{:03}", weight / 1000, weight % 1000)
                })
                .collect::<Vec<_>>()
                .join(", ");
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(&accept).unwrap());
            let chosen = choose(&Uri::from_static("/"), headers.get_all(header::ACCEPT).iter()).ok();
            let most = weights.iter().copied().max().unwrap_or(0);
            let expected = weights.iter().position(|weight| *weight == most && most > 0);
            prop_assert_eq!(chosen, expected.map(|place| Format::ALL[place]), "{}", accept);
        }
    }

    #[test]
    fn several_accept_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, HeaderValue::from_static("image/png"));
        headers.append(header::ACCEPT, HeaderValue::from_static("text/plain"));
        assert_eq!(
            choose(
                &Uri::from_static("/"),
                headers.get_all(header::ACCEPT).iter()
            )
            .unwrap(),
            Format::Text
        );
    }

    #[test]
    fn the_query_takes_precedence_over_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/plain"));
        for (uri, expected) in [
            ("/?format=sse", Format::Sse),
            ("/?a=b&format=JSON", Format::JsonArray),
            ("/?format=application%2fjson-seq", Format::JsonSeq),
            ("/?formats=sse", Format::Text),
        ] {
            assert_eq!(
                choose(
                    &Uri::from_static(uri),
                    headers.get_all(header::ACCEPT).iter()
                )
                .unwrap(),
                expected,
                "{uri}"
            );
        }
    }

    #[test]
    fn a_refusal_lists_the_available_formats() {
        let png = HeaderValue::from_static("image/png");
        for (uri, status) in [
            ("/?format=xml", StatusCode::BAD_REQUEST),
            ("/?format=sse&format=json", StatusCode::BAD_REQUEST),
            ("/", StatusCode::NOT_ACCEPTABLE),
        ] {
            let refusal = choose(&Uri::from_static(uri), std::iter::once(&png)).unwrap_err();
            let problem = Problem::from(refusal);
            assert_eq!(problem.status(), status, "{uri}");
            let text = serde_json::to_string(&problem).unwrap();
            for format in Format::ALL {
                assert!(
                    text.contains(format.name()) && text.contains(format.media_types()[0]),
                    "{text}"
                );
            }
        }
    }
}
