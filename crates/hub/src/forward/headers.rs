//! The headers of a forwarded request and of its response.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use headwater::RequestOrigin;
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::FORWARDED;
use crate::protocol::public_url::authority;

/// Headers about one connection (RFC 9110 §7.6.1), besides those that `Connection` names. `Expect` is one
/// that this hub has answered.
const OF_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];

/// The value of [`FORWARDED`] for a request without `Accept`. The client by which it is forwarded adds one.
const NO_ACCEPT: HeaderValue = HeaderValue::from_static("no-accept");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Removes the headers about the connection.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OF_CONNECTION.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Restores the headers of a request that was forwarded here.
pub(super) fn restore(headers: &mut HeaderMap) {
    if headers
        .remove(FORWARDED)
        .is_some_and(|mark| mark == NO_ACCEPT)
    {
        headers.remove(header::ACCEPT);
    }
}

/// Returns the headers with which a request is forwarded. The client is the one that this hub knows: proxies
/// that it trusts have been believed, and others not.
pub(super) fn forwarded(parts: &Parts) -> HeaderMap {
    let mut headers = parts.headers.clone();
    remove_hop_by_hop(&mut headers);
    headers.remove(header::FORWARDED);
    let mark = match headers.contains_key(header::ACCEPT) {
        true => HeaderValue::from_static("1"),
        false => NO_ACCEPT,
    };
    headers.insert(FORWARDED, mark);
    let origin = RequestOrigin::of(parts);
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let address = address.map(|ConnectInfo(address)| address.ip().to_string());
    for (name, value) in [
        (X_FORWARDED_FOR, address.as_deref()),
        (X_FORWARDED_PROTO, Some(origin.scheme())),
        (X_FORWARDED_HOST, origin.host()),
        (header::HOST, authority(&parts.uri, &parts.headers)),
    ] {
        match value.map(HeaderValue::try_from) {
            Some(Ok(value)) => drop(headers.insert(name, value)),
            _ => drop(headers.remove(name)),
        }
    }
    // HTTP/2 splits cookies, which HTTP/1.1 doesn't (RFC 9113 §8.2.3).
    let cookies: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
    headers
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_request_keeps_its_headers_but_those_about_the_connection() {
        let request = Request::get("http://hub.example/a")
            .header("host", "other.example")
            .header("authorization", "Bearer t")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("origin", "https://page.example")
            .header("connection", "keep-alive, x-mine")
            .header("keep-alive", "timeout=5")
            .header("x-mine", "1")
            .header("te", "trailers")
            .header("forwarded", "for=192.0.2.7")
            .header("x-forwarded-for", "192.0.2.7")
            .extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 99))));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut headers: Vec<(String, String)> = forwarded(&parts)
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        let expected = [
            ("authorization", "Bearer t"),
            ("cookie", "a=1; b=2"),
            ("headwater-forwarded", "no-accept"),
            ("host", "hub.example"),
            ("origin", "https://page.example"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "hub.example"),
            ("x-forwarded-proto", "http"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, expected);
    }

    #[test]
    fn an_accept_that_is_added_on_the_way_is_removed() {
        for accept in [None, Some("text/plain")] {
            let mut request = Request::get("/").header("host", "a");
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let mut headers = forwarded(&parts);
            headers
                .entry(header::ACCEPT)
                .or_insert(HeaderValue::from_static("*/*"));
            restore(&mut headers);
            assert_eq!(headers.get("accept"), parts.headers.get("accept"));
            assert!(!headers.contains_key(FORWARDED));
        }
    }
}
