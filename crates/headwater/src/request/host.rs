//! `Host`, and the authority of a request's target (RFC 9112 §3.2, RFC 9113 §8.3.1).

use std::net::Ipv6Addr;

use http::{HeaderMap, HeaderValue, Request, Version, header};

use crate::Problem;

/// Validates the host of a request. `is_received` is `true` for a request that arrived over one of
/// the server's connections, where HTTP/1.1 requires `Host`. A request that was created in the
/// process may omit it.
///
/// # Errors
/// 400: `Host` is missing or duplicated, is not a host with an optional port, or differs from
/// HTTP/2's `:authority`. Or the target is a URL with another scheme than HTTP's, or contains user
/// information.
pub(super) fn check<B>(request: &Request<B>, is_received: bool) -> Result<(), Problem> {
    let host = one(request.headers())?;
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    match request.uri().scheme_str() {
        Some("http" | "https") | None => {}
        Some(scheme) => {
            return Err(Problem::bad_request(format!(
                "the request's target is a URL of {scheme:?}, and this is a server of http"
            )));
        }
    }
    if let Some(target) = target.filter(|target| !is_authority(target)) {
        return Err(Problem::bad_request(format!(
            "the request's target names {target:?}, which is not a host, or a host and a port"
        )));
    }
    match host {
        Some(host) if !is_authority(host) => Err(Problem::bad_request(format!(
            "Host is {host:?}, which is not a host, or a host and a port"
        ))),
        // In HTTP/1.1 the target takes precedence, and `Host` is ignored (§3.2.2).
        Some(host) if request.version() >= Version::HTTP_2 => match target {
            Some(target) if !is_same(host, target) => Err(Problem::bad_request(format!(
                "Host is {host:?}, and :authority {target:?}"
            ))),
            _ => Ok(()),
        },
        None if is_received && request.version() == Version::HTTP_11 => Err(Problem::bad_request(
            "a request of HTTP/1.1 has a Host header",
        )),
        // RFC 9113 §8.3.1: one of the two, as the scheme has an authority.
        None if is_received && request.version() == Version::HTTP_2 && target.is_none() => Err(
            Problem::bad_request("a request of HTTP/2 has `:authority`, or a Host header"),
        ),
        _ => Ok(()),
    }
}

/// Returns the value of `Host`.
///
/// # Errors
/// The request has several.
pub(super) fn one(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::HOST).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::bad_request("there is more than one Host header"));
    }
    // A non-ASCII value is not a valid host.
    Ok(first.map(|value: &HeaderValue| value.to_str().unwrap_or("\u{fffd}")))
}

/// Returns `true` if `text` is `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2). HTTP doesn't
/// allow an empty host (RFC 9110 §4.2.1), and the port must be a TCP port.
pub(crate) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((literal, rest)) = rest.split_once(']') else {
                return false;
            };
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return false,
            };
            return is_ip_literal(literal) && port.is_none_or(is_port);
        }
        // Faster than `split_once` for texts as short as this.
        None => match text.bytes().position(|byte| byte == b':') {
            Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
            None => (text, None),
        },
    };
    !host.is_empty() && is_reg_name(host) && port.is_none_or(is_port)
}

/// Returns the host of an authority, including an IP literal's brackets.
pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

fn is_port(text: &str) -> bool {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    // `port = *DIGIT`: an empty port means the default.
    is_digits && (text.is_empty() || text.parse::<u16>().is_ok())
}

/// Returns `true` if the text between brackets is an IPv6 address or a future IP version's literal.
fn is_ip_literal(text: &str) -> bool {
    if text.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    let Some((version, address)) = text
        .strip_prefix(['v', 'V'])
        .and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_version && !address.is_empty() && address.bytes().all(|byte| is_plain(byte) || byte == b':')
}

/// Returns `true` for `unreserved / sub-delims` (RFC 3986 §2).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'='
        )
}

fn is_reg_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_fine = match byte {
            b'%' => {
                let mut hex = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
                hex() && hex()
            }
            byte => is_plain(byte),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

/// Returns `true` if two authorities are equal, ignoring case and a default port.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let text = text.to_ascii_lowercase();
        let bare = text.strip_suffix(":80").or(text.strip_suffix(":443"));
        bare.unwrap_or(text.trim_end_matches(':')).to_owned()
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for good in [
            "a",
            "A.b-c",
            "a:",
            "a:0",
            "a:65535",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:80",
            "[v1.x:y]",
            "a_b",
            "%41",
            "xn--bcher-kva.example",
            "a.",
        ] {
            assert!(is_authority(good), "{good:?}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            " a",
            "a ",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "u:p@a",
            "a:b",
            "a:65536",
            "a:-1",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[a]",
            "[::1%25eth0]",
            "a%4",
            "a%zz",
            "http://a",
            "a\\b",
            "\u{fffd}",
            "a\"b",
            "<a>",
            "a|b",
            "a^b",
            "a, b",
            "[v.x]",
            "a:8 0",
        ] {
            assert!(!is_authority(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_authority_of_http_2_must_equal_host() {
        let check = |host: &str, authority: &str| {
            let request = Request::builder()
                .version(Version::HTTP_2)
                .uri(format!("http://{authority}/"))
                .header("host", host)
                .body(())
                .unwrap();
            check(&request, true).is_ok()
        };
        assert!(check("a:8000", "A:8000") && check("a", "a:80"));
        assert!(!check("b", "a") && !check("a:8000", "a"));
    }

    #[test]
    fn an_http_1_target_takes_precedence_over_host() {
        let check = |uri: &str, host: Option<&str>| {
            let request = Request::builder().uri(uri);
            let request = match host {
                Some(host) => request.header("host", host),
                None => request,
            };
            check(&request.body(()).unwrap(), true).is_ok()
        };
        assert!(check("http://a/", Some("b")), "another Host is passed over");
        assert!(
            !check("http://a/", None) && !check("/", None),
            "Host is missing"
        );
        assert!(!check("http://u@a/", Some("a")));
        assert!(!check("ftp://a/", Some("a")));
    }
}
