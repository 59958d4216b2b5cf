//! The credentials of a request's `Authorization`.

use crate::AuthError;

/// Returns the token of `Authorization: Bearer` (RFC 6750 section 2.1), or `None` without the header.
/// `values` are the values of a request's `Authorization` headers.
///
/// # Errors
/// [`AuthError::Malformed`] if there are several values, or if the value isn't ASCII, or is `Bearer` without
/// a token. [`AuthError::OtherScheme`] if it isn't of the scheme `Bearer`.
///
/// ```
/// use headwater_auth::bearer;
///
/// assert_eq!(bearer([&b"Bearer hwk_1_x"[..]])?, Some("hwk_1_x"));
/// assert_eq!(bearer([])?, None);
/// assert!(bearer([&b"Basic YTpi"[..]]).is_err());
/// # Ok::<(), headwater_auth::AuthError>(())
/// ```
pub fn bearer<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a str>, AuthError> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthError::malformed(
            "there is more than one Authorization header",
        ));
    }
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.is_ascii());
    let text = text.ok_or_else(|| AuthError::malformed("the Authorization header is not ASCII"))?;
    match text.split_at_checked("bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => {
            Ok(Some(token.trim_ascii()))
        }
        _ if text.trim_ascii().eq_ignore_ascii_case("bearer") => Err(AuthError::malformed(
            "the Authorization header has no token after `Bearer`",
        )),
        _ => Err(AuthError::OtherScheme),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_value_of_the_scheme_is_a_token() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer([value.as_bytes()]), Ok(Some("abc")), "{value}");
        }
        let malformed: [&[&[u8]]; 3] = [
            &[b"Bearer a", b"Bearer a"],
            &[b"Bearer"],
            &["Bearer \u{e9}".as_bytes()],
        ];
        for values in malformed {
            let refused = bearer(values.iter().copied()).unwrap_err();
            assert_eq!(refused.code(), "malformed");
            assert_eq!(refused.bearer_error(), Some("invalid_token"));
        }
        for value in ["abc", "", "Basic abc", "Bearerabc", "Negotiate"] {
            let refused = bearer([value.as_bytes()]);
            assert_eq!(refused, Err(AuthError::OtherScheme), "{value}");
        }
        assert_eq!(bearer([]), Ok(None));
    }
}
