//! URLs as users type them: `http://` may be omitted.

use std::{borrow::Cow, convert::Infallible};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Parses a URL argument.
pub(crate) fn parse(text: &str) -> Result<String, Infallible> {
    Ok(with_scheme(text).into_owned())
}

/// Prefixes `http://` to a URL that begins with its host: a name with a dot or a port, `localhost`,
/// or an address (IPv6 in brackets). Any other text is unchanged; the client reports its fault.
pub(crate) fn with_scheme(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    match begins_with_host(text) {
        true => Cow::Owned(format!("http://{text}")),
        false => Cow::Borrowed(text),
    }
}

/// Prefixes `http://` to the URL of a line of `gather`, if it is omitted. A line that isn't a call
/// is unchanged.
pub(crate) fn call_with_scheme(line: &str) -> Cow<'_, str> {
    /// The member of a call that matters here.
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        url: &'a RawValue,
    }

    let line = line.trim();
    let raw: Option<&RawValue> = match line.as_bytes().first() {
        Some(b'{') => serde_json::from_str(line)
            .map(|call: Members<'_>| call.url)
            .ok(),
        Some(b'"') => serde_json::from_str(line).ok(),
        Some(b'[') => None,
        _ => return with_scheme(line),
    };
    let Some(raw) = raw.map(RawValue::get) else {
        return Cow::Borrowed(line);
    };
    let url: Option<String> = serde_json::from_str(raw).ok();
    if !url.is_some_and(|url| begins_with_host(url.trim())) {
        return Cow::Borrowed(line);
    }
    // The raw text is borrowed from the line.
    let start = raw.as_ptr().addr() - line.as_ptr().addr();
    let (before, rest) = line.split_at(start);
    let rest = rest.trim_start_matches('"').trim_start();
    Cow::Owned(format!("{before}\"http://{rest}"))
}

/// Returns `true` if the text begins with an address, `localhost` or a name with a dot, followed by
/// a port and a path.
pub(crate) fn begins_with_host_and_port(text: &str) -> bool {
    let Some((authority, _)) = text.split_once('/') else {
        return false;
    };
    let Some((host, _)) = authority.rsplit_once(':') else {
        return false;
    };
    begins_with_host(host) && begins_with_host(authority)
}

fn begins_with_host(text: &str) -> bool {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    let authority = &text[..end];
    if let Some(rest) = authority.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((address, port)) => {
                address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port))
            }
            None => false,
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, _)) => (host, &authority[host.len()..]),
        None => (authority, ""),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_alphanumeric() || "-_".contains(c))
    };
    let is_host = host.trim_end_matches('.').split('.').all(is_label);
    let is_telling = is_port(port) || host.contains('.') || host.eq_ignore_ascii_case("localhost");
    is_host && is_telling && (port.is_empty() || is_port(port))
}

/// Returns `true` for a colon and a number.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_omit_http() {
        for text in [
            "127.0.0.1:8000/x",
            "127.0.0.1",
            "localhost",
            "LOCALHOST/x",
            "localhost:8000",
            "localhost:8000/x?a=b",
            "localhost?a",
            "[::1]:8000/x",
            "[::1]",
            "example.com/x",
            "example.com",
            "example.com./x#y",
            "hub:8000/streams",
            "my_host-1.lan/a:b/c://d",
            "bücher.example/x",
        ] {
            assert_eq!(with_scheme(text), format!("http://{text}"));
        }
        assert_eq!(with_scheme(" localhost:1/ "), "http://localhost:1/");
    }

    #[test]
    fn a_text_with_a_scheme_or_without_a_host_is_unchanged() {
        for text in [
            "",
            "http://127.0.0.1:8000/x",
            "HTTPS://example.com",
            "ftp://example.com/",
            "unix:/tmp/socket",
            "mailto:a@example.com",
            "user:secret@example.com/x",
            "nonsense",
            "no url",
            "/path",
            "./file",
            "../file.txt",
            "//example.com/x",
            "::1/x",
            "[::1",
            "[nonsense]/x",
            "localhost:port/x",
            "localhost:/x",
            "example..com",
        ] {
            assert_eq!(with_scheme(text), text);
        }
    }

    #[test]
    fn a_call_may_omit_http_in_every_form() {
        for (line, wanted) in [
            ("localhost:1/x", "http://localhost:1/x"),
            ("\"localhost:1/x\"", "\"http://localhost:1/x\""),
            (
                r#"{"body":{"url":"localhost:1/a"},"url": "localhost:1/\"b" , "key":"k"}"#,
                r#"{"body":{"url":"localhost:1/a"},"url": "http://localhost:1/\"b" , "key":"k"}"#,
            ),
        ] {
            assert_eq!(call_with_scheme(line), wanted);
        }
        for line in [
            "no call",
            "{\"url\":1}",
            "{\"ulr\":\"localhost:1\"}",
            "[\"localhost:1\"]",
            "{\"url\":\"http://a/\"}",
            "{",
        ] {
            assert_eq!(call_with_scheme(line), line);
        }
    }
}
