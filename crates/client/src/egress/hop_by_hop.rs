//! The headers of a forwarded message.

use http::{HeaderMap, HeaderName, header};

/// The headers that apply to one connection, even if `Connection` doesn't name them (RFC 9110
/// §7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Keeps only the end-to-end headers of a message, so that they can be forwarded.
///
/// Removes the headers that apply to one connection: those that `Connection` names, and in any case
/// `Connection`, `Keep-Alive`, `Proxy-Authenticate`, `Proxy-Authorization`, `Proxy-Connection`,
/// `TE`, `Trailer`, `Trailers`, `Transfer-Encoding` and `Upgrade` (RFC 9110 §7.6.1). Also removes
/// `Host` and `Content-Length`, because the forwarded message has its own.
///
/// ```
/// use headwater_client::{HeaderMap, egress::retain_end_to_end};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("connection", "close, X-Hop".parse()?);
/// headers.insert("x-hop", "1".parse()?);
/// headers.insert("x-end", "2".parse()?);
/// retain_end_to_end(&mut headers);
/// assert_eq!(headers.len(), 1);
/// assert_eq!(headers["x-end"], "2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn retain_end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("trailers");
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_are_removed() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-One"),
            ("connection", ",  x-two ,not a name,"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-two", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-checksum"),
            ("trailers", "x-checksum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "hub.example"),
            ("content-length", "3"),
            ("authorization", "Bearer x"),
            ("accept", "text/event-stream"),
            ("x-three", "4"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        retain_end_to_end(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "authorization", "x-three"]);
    }
}
