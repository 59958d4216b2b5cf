//! The members of `Accept` (RFC 9110 §12.5.1).

use http::{HeaderMap, HeaderValue, header};

/// A media range of an `Accept` header, with its weight (RFC 9110 §12.5.1).
///
/// For handlers that select a representation themselves; [`Streaming`](crate::Streaming) does that
/// for streams. Parameters other than `q` are ignored.
///
/// ```
/// use headwater::MediaRange;
/// use http::{HeaderMap, header};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(header::ACCEPT, "text/html, text/*;q=0.5".parse().unwrap());
/// let ranges: Vec<_> = MediaRange::all(&headers).collect();
/// assert_eq!(ranges[0].precedence("text/html"), Some(2));
/// assert_eq!(ranges[1].precedence("text/plain"), Some(1));
/// assert_eq!(ranges[1].weight(), 500);
/// assert_eq!(ranges[1].precedence("image/png"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaRange<'a> {
    main: &'a str,
    sub: &'a str,
    weight: u16,
}

impl<'a> MediaRange<'a> {
    /// Returns the ranges of all `Accept` headers, in order. Invalid members are ignored, so the result
    /// is empty both without the header and without a valid member.
    pub fn all(headers: &'a HeaderMap) -> impl Iterator<Item = Self> {
        headers
            .get_all(header::ACCEPT)
            .iter()
            .flat_map(Self::of_value)
    }

    pub(super) fn of_value(value: &'a HeaderValue) -> impl Iterator<Item = Self> {
        let text = value.to_str().unwrap_or_default();
        text.split(',').filter_map(Self::parse)
    }

    fn parse(member: &'a str) -> Option<Self> {
        let mut parts = member.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let mut weight = 1000;
        for part in parts {
            if let Some((name, value)) = part.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                weight = parse_weight(value.trim())?;
            }
        }
        Some(Self { main, sub, weight })
    }

    /// Returns the weight in thousandths, from 0 (not acceptable) to 1000 (§12.4.2).
    #[must_use]
    pub fn weight(&self) -> u16 {
        self.weight
    }

    /// Returns the specificity with which the range matches a media type without parameters: 2 if it
    /// names the type, 1 for `type/*`, 0 for `*/*`. `None` if it doesn't match. For each media type the
    /// range with the highest precedence counts (§12.5.1).
    #[must_use]
    pub fn precedence(&self, media_type: &str) -> Option<u8> {
        let (main, sub) = media_type.split_once('/')?;
        if self.is(main, sub) {
            Some(2)
        } else if self.is(main, "*") {
            Some(1)
        } else if self.is("*", "*") {
            Some(0)
        } else {
            None
        }
    }

    fn is(&self, main: &str, sub: &str) -> bool {
        self.main.eq_ignore_ascii_case(main) && self.sub.eq_ignore_ascii_case(sub)
    }
}

/// Parses `( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`. Returns thousandths (RFC 9110
/// §12.4.2).
fn parse_weight(value: &str) -> Option<u16> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}
