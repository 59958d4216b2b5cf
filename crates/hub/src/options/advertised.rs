//! The URL at which other hubs reach one.

use std::net::IpAddr;

use http::Uri;

use crate::limits::ADVERTISED_URL_BYTES;

/// The error of a text that can't be [advertised](crate::Options::advertise).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} can't be advertised: {reason}")]
pub struct AdvertisedUrlError {
    url: String,
    reason: &'static str,
}

/// Checks a URL. Returns it without a slash at its end.
pub(super) fn parse(url: &str) -> Result<String, AdvertisedUrlError> {
    let failed = |reason| AdvertisedUrlError {
        // A user's name or password isn't repeated.
        url: url.split('@').next_back().unwrap_or_default().to_owned(),
        reason,
    };
    if url.len() > ADVERTISED_URL_BYTES {
        return Err(failed("it is too long"));
    }
    let like = "it isn't like http://10.0.0.1:8000";
    let parsed: Uri = url.parse().map_err(|_| failed(like))?;
    let authority = parsed.authority().ok_or_else(|| failed(like))?;
    match parsed.scheme_str() {
        Some("http") => {}
        Some("https") if cfg!(feature = "tls") => {}
        Some("https") => return Err(failed("this build has no https (feature `tls`)")),
        _ => return Err(failed(like)),
    }
    if authority.as_str().contains('@') {
        return Err(failed("it has a user name or password"));
    }
    let host = authority.host();
    if host.is_empty() {
        return Err(failed(like));
    }
    // Whatever follows the host is a port.
    let port = authority.as_str()[host.len()..].strip_prefix(':');
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
        return Err(failed("its port isn't one from 1 to 65535"));
    }
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    if address.is_ok_and(|address| address.is_unspecified()) {
        return Err(failed("other hubs can't connect to this address"));
    }
    if parsed.query().is_some() || url.contains('#') {
        return Err(failed("it has a query or a fragment"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Returns a URL without its path.
pub(crate) fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    let path = url[host..].find('/');
    path.map_or(url, |path| &url[..host + path])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_url_has_no_path() {
        for url in ["http://a", "http://a/", "http://a/b/c"] {
            assert_eq!(origin(url), "http://a");
        }
        assert_eq!(origin("http://[::1]:80/b"), "http://[::1]:80");
    }

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_credentials_or_query() {
        assert_eq!(
            parse("http://10.0.0.1:8000/").unwrap(),
            "http://10.0.0.1:8000"
        );
        assert_eq!(parse("http://[::1]:80/hub").unwrap(), "http://[::1]:80/hub");
        assert_eq!(parse("https://a").is_ok(), cfg!(feature = "tls"));
        for (bad, reason) in [
            ("", "it isn't like"),
            ("10.0.0.1:8000", "it isn't like"),
            ("/hub", "it isn't like"),
            ("ftp://a", "it isn't like"),
            ("http://", "it isn't like"),
            ("http://a b", "it isn't like"),
            ("http://user:secret@a", "user name"),
            ("http://a?b", "query"),
            ("http://a#b", "fragment"),
            ("http://:8000", "it isn't like"),
            ("http://a:0", "port"),
            ("http://a:99999", "port"),
            ("http://a:", "port"),
            ("http://0.0.0.0:80", "can't connect"),
            ("http://[::]:80", "can't connect"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(
                error.contains(reason) && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_length_of_a_url_is_limited() {
        let url = format!("http://{}", "a".repeat(ADVERTISED_URL_BYTES - 7));
        assert!(parse(&url).is_ok());
        assert!(parse(&format!("{url}a")).is_err());
    }
}
