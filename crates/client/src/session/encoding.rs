//! Content codings of responses (RFC 9110 §8.4). The client decodes none, and requests none by
//! itself.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::error::{Error, Kind, Wanted};

/// Returns the codings of a body, joined by commas, or `None` if it isn't encoded.
pub fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let values: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let codings: Vec<_> = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
        .collect();
    (!codings.is_empty()).then(|| codings.join(", "))
}

/// The error for a body in these codings that should be read as text.
pub(crate) fn encoded(codings: String) -> Error {
    Error::new(Kind::ContentType {
        found: Some(codings),
        wanted: Wanted::Uncompressed,
    })
}

/// Checks that a body can be read as text.
///
/// # Errors
/// It is encoded.
pub(crate) fn check_unencoded(headers: &HeaderMap) -> Result<(), Error> {
    content_encoding(headers).map_or(Ok(()), |codings| Err(encoded(codings)))
}

/// The content type of a body that can be read as text; empty if it has none, or if it is encoded.
pub(crate) fn readable_type(headers: &HeaderMap) -> Cow<'_, str> {
    match headers.get(header::CONTENT_TYPE) {
        Some(value) if content_encoding(headers).is_none() => {
            String::from_utf8_lossy(value.as_bytes())
        }
        _ => Cow::Borrowed(""),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn all_codings_but_identity_are_found() {
        for (values, wanted) in [
            (&[][..], None),
            (&["identity"], None),
            (&["", " , Identity"], None),
            (&["gzip"], Some("gzip")),
            (&["identity", "br"], Some("br")),
            (&["identity, gzip", "br"], Some("gzip, br")),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(content_encoding(&headers).as_deref(), wanted, "{values:?}");
        }
        let mut headers = HeaderMap::new();
        let odd = HeaderValue::from_bytes(b"\xff").unwrap();
        headers.insert(header::CONTENT_ENCODING, odd);
        assert!(check_unencoded(&headers).unwrap_err().is_content_type());
    }
}
