//! Trusted proxies, and what they report of their clients.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
};

use http::{HeaderMap, HeaderName, header, uri::Scheme};
use ipnet::IpNet;

use super::forwarded::{self, Hop};

/// Maximum number of proxies between a client and the server. Elements of a header beyond it are
/// not looked at.
pub(super) const MAX_HOPS: usize = 16;

/// The word for the peers of a Unix socket, which have no address.
const UNIX: &str = "unix";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The proxies whose `Forwarded` (RFC 7239) and `X-Forwarded-For`, `-Proto` and `-Host` headers
/// count. See [`Serve::trusted_proxies`](crate::Serve::trusted_proxies).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

/// The error of a text that names no proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoNetwork(String);

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a network of proxies; one is like `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`, or \
             `unix` for the peers of a Unix socket",
            self.0
        )
    }
}

impl Error for NoNetwork {}

impl TrustedProxies {
    /// Trusts these proxies: addresses, networks in CIDR notation, or `unix` for every peer of a
    /// Unix socket. IPv4 addresses also match in their IPv6 form.
    ///
    /// # Errors
    /// One of the texts is none of these.
    pub fn parse<I>(networks: I) -> Result<Self, NoNetwork>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut trusted = Self::default();
        for text in networks {
            let text = text.as_ref().trim();
            if text == UNIX {
                trusted.unix = true;
                continue;
            }
            let network = text.parse::<IpNet>().ok();
            let network = network.or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
            let network = network.ok_or_else(|| NoNetwork(text.to_owned()))?;
            trusted.networks.push(network);
        }
        Ok(trusted)
    }

    /// Returns `true` if no proxy is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.unix && self.networks.is_empty()
    }

    /// Returns `true` if a peer with this address is trusted.
    fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns the client of a request, as the proxies between it and this server report it.
    /// `peer` is the connection's other end, `None` for a Unix socket.
    pub(super) fn client(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Client {
        let mut client = Client {
            address: peer,
            scheme: None,
            host: None,
        };
        let is_trusted = match peer {
            Some(peer) => self.has(peer.ip()),
            None => self.unix,
        };
        if !is_trusted {
            return client;
        }
        // Proxies that set one kind of header mostly pass on the other one as the client sent it.
        // The `X-` headers are those that proxies set.
        let is_x = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST]
            .iter()
            .any(|name| headers.contains_key(name));
        if is_x {
            self.by_x_headers(&mut client, headers);
        } else {
            self.by_forwarded(&mut client, headers);
        }
        client
    }

    /// Follows the elements of `Forwarded`, the last one first. Each is added by the proxy that the
    /// element after it is about, so it counts if that proxy is trusted.
    fn by_forwarded(&self, client: &mut Client, headers: &HeaderMap) {
        let elements = forwarded::last_elements(headers, &header::FORWARDED, MAX_HOPS);
        for element in elements {
            let Some(hop) = Hop::parse(element) else {
                return;
            };
            client.scheme = hop.scheme.or(client.scheme.take());
            client.host = hop.host.or(client.host.take());
            let Some(address) = hop.client else { return };
            client.address = Some(address);
            if !self.has(address.ip()) {
                return;
            }
        }
    }

    /// Follows the elements of `X-Forwarded-For`, the last one first, up to the client's. The other
    /// two headers have one element for each proxy, or one in total.
    fn by_x_headers(&self, client: &mut Client, headers: &HeaderMap) {
        let mut proxies = 0;
        for element in forwarded::last_elements(headers, &X_FORWARDED_FOR, MAX_HOPS) {
            proxies += 1;
            let Some(address) = forwarded::address(element) else {
                break;
            };
            client.address = Some(address);
            if !self.has(address.ip()) {
                break;
            }
        }
        let element = |name| element_of(headers, &name, proxies.max(1));
        client.scheme = element(X_FORWARDED_PROTO).and_then(forwarded::scheme);
        client.host = element(X_FORWARDED_HOST).and_then(forwarded::host);
    }
}

/// Returns the element that the first of `proxies` has added, or the first one if there are fewer.
fn element_of<'a>(headers: &'a HeaderMap, name: &HeaderName, proxies: usize) -> Option<&'a str> {
    let elements = forwarded::last_elements(headers, name, proxies);
    elements.into_iter().last()
}

/// The client of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// The last address that is known: that of the client, or of the first proxy that doesn't say.
    /// The port is 0 if it isn't known.
    pub(super) address: Option<SocketAddr>,
    /// `None`: the one of the connection.
    pub(super) scheme: Option<Scheme>,
    /// `None`: the one of the request.
    pub(super) host: Option<String>,
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TRUSTED: [&str; 3] = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"];

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let peer = (peer != UNIX).then(|| SocketAddr::new(peer.parse().unwrap(), 9));
        let trusted = TrustedProxies::parse(TRUSTED.into_iter().chain([UNIX])).unwrap();
        trusted.client(peer, &map)
    }

    /// `address scheme host`, each `-` if it is unknown.
    fn check(peer: &str, headers: &[(&'static str, &str)], expected: &str) {
        let got = client(peer, headers);
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let got = format!(
            "{} {} {}",
            or(got.address.map(|address| address.to_string())),
            or(got.scheme.map(|scheme| scheme.to_string())),
            or(got.host)
        );
        assert_eq!(got, expected, "{peer} {headers:?}");
    }

    #[test]
    fn headers_of_peers_that_are_not_trusted_are_ignored() {
        let x = [
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
        ];
        check("198.51.100.1", &x, "198.51.100.1:9 - -");
        check("192.0.2.8", &x, "192.0.2.8:9 - -");
        check("198.51.100.1", &[("forwarded", "for=203.0.113.1")], "198.51.100.1:9 - -");
        let untrusting = TrustedProxies::default();
        assert!(untrusting.is_empty());
        assert_eq!(untrusting.client(None, &HeaderMap::new()).address, None);
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        let x = |value| [("x-forwarded-for", value)];
        check("10.0.0.1", &x("203.0.113.1"), "203.0.113.1:0 - -");
        check("::ffff:10.0.0.1", &x("203.0.113.1"), "203.0.113.1:0 - -");
        check("unix", &x("203.0.113.1"), "203.0.113.1:0 - -");
        check("unix", &[], "- - -");
        check("10.0.0.1", &[], "10.0.0.1:9 - -");
        // The client has written the first one itself.
        check("10.0.0.1", &x("1.1.1.1, 203.0.113.1, 10.2.3.4"), "203.0.113.1:0 - -");
        check("10.0.0.1", &x("10.0.0.9, 10.2.3.4"), "10.0.0.9:0 - -");
        check("192.0.2.7", &x("[2001:db8::1]:5, 203.0.113.1:77"), "203.0.113.1:77 - -");
        check("10.0.0.1", &x("2001:dead::1"), "[2001:dead::1]:0 - -");
        check("10.0.0.1", &x("::ffff:203.0.113.1"), "203.0.113.1:0 - -");
        let lines = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "10.0.0.2")];
        check("10.0.0.1", &lines, "203.0.113.1:0 - -");
    }

    #[test]
    fn what_is_malformed_ends_the_search() {
        let x = |value| [("x-forwarded-for", value)];
        check("10.0.0.1", &x("203.0.113.1, nonsense, 10.0.0.2"), "10.0.0.2:0 - -");
        check("10.0.0.1", &x("203.0.113.1, , 10.0.0.2"), "203.0.113.1:0 - -");
        for bad in ["unknown", "_hidden", "", ",", "1.2.3", "[::1", "1.2.3.4:99999", "::1]:3", "fe80::1%eth0"] {
            check("10.0.0.1", &x(bad), "10.0.0.1:9 - -");
        }
        check("10.0.0.1", &[("x-forwarded-proto", "gopher")], "10.0.0.1:9 - -");
        check("10.0.0.1", &[("x-forwarded-host", "a/b")], "10.0.0.1:9 - -");
    }

    #[test]
    fn the_scheme_and_the_host_are_those_of_the_first_trusted_proxy() {
        let headers = [
            ("x-forwarded-for", "1.1.1.1, 203.0.113.1, 10.0.0.2"),
            ("x-forwarded-proto", "gopher, https, http"),
            ("x-forwarded-host", "evil, a.example:8443, b.example"),
        ];
        check("10.0.0.1", &headers, "203.0.113.1:0 https a.example:8443");
        let once = [
            ("x-forwarded-for", "203.0.113.1, 10.0.0.2"),
            ("x-forwarded-proto", "HTTPS"),
        ];
        check("10.0.0.1", &once, "203.0.113.1:0 https -");
        let appended = [("x-forwarded-proto", "https, http")];
        check("10.0.0.1", &appended, "10.0.0.1:9 http -");
    }

    #[test]
    fn forwarded_is_followed_from_its_last_element() {
        let one = |value| [("forwarded", value)];
        check(
            "10.0.0.1",
            &one("for=203.0.113.1;proto=https;host=a.example"),
            "203.0.113.1:0 https a.example",
        );
        check(
            "10.0.0.1",
            &one("for=1.1.1.1;host=evil, For=\"[2001:dead::1]:47\" ; PROTO=https, for=10.0.0.2;proto=http;host=b"),
            "[2001:dead::1]:47 https b",
        );
        check("10.0.0.1", &one("for=\"203.0.113.1:_x\";by=_me"), "203.0.113.1:0 - -");
        check("10.0.0.1", &one("host=\"a.example:80\""), "10.0.0.1:9 - a.example:80");
        check("10.0.0.1", &one("for=unknown;proto=https"), "10.0.0.1:9 https -");
        check("10.0.0.1", &one("for=_gazonk"), "10.0.0.1:9 - -");
        // Separators within a quoted string separate nothing.
        check("10.0.0.1", &one("for=203.0.113.1;x=\"a,b;for=1.1.1.1\\\"\""), "203.0.113.1:0 - -");
        for bad in ["for", "for=", "=a", "for=a b", "for=\"1.1.1.1", "for==1.1.1.1", "f or=1.1.1.1", "for=1.1.1.1;for=2.2.2.2"] {
            check("10.0.0.1", &one(bad), "10.0.0.1:9 - -");
        }
        let both = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.1")];
        check("10.0.0.1", &both, "203.0.113.1:0 - -");
    }

    #[test]
    fn the_number_of_proxies_is_limited() {
        let chain = |proxies: usize| {
            let mut value = "203.0.113.1".to_owned();
            for n in 0..proxies {
                value.push_str(&format!(", 10.1.1.{n}"));
            }
            value
        };
        check("10.0.0.1", &[("x-forwarded-for", &chain(MAX_HOPS - 1))], "203.0.113.1:0 - -");
        check("10.0.0.1", &[("x-forwarded-for", &chain(MAX_HOPS))], "10.1.1.0:0 - -");
    }

    #[test]
    fn a_network_is_an_address_or_has_a_prefix() {
        for good in ["10.0.0.0/8", "10.1.2.3/8", "::1", "2001:db8::/32", "unix", " 1.2.3.4 "] {
            assert!(!TrustedProxies::parse([good]).unwrap().is_empty(), "{good}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0", "proxy.example", "*", "unix:", "::/129"] {
            let error = TrustedProxies::parse([bad]).unwrap_err().to_string();
            assert!(error.contains("10.0.0.0/8"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_name_an_untrusted_host(
            name in prop::sample::select(vec!["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]),
            values in prop::collection::vec("(for=|proto=|host=|\"|\\\\|,|;|\\[|\\]|:|10\\.0\\.0\\.1|2001:db8::1|unknown|https?|[ -~\u{e9}]){0,12}", 0..4),
        ) {
            let mut map = HeaderMap::new();
            for value in &values {
                map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let trusted = TrustedProxies::parse(TRUSTED).unwrap();
            let client = trusted.client(Some("10.0.0.1:9".parse().unwrap()), &map);
            prop_assert!(client.address.is_some());
            if let Some(host) = client.host {
                prop_assert!(crate::request::is_authority(&host));
            }
        }

        #[test]
        fn what_a_client_writes_before_its_proxy_changes_nothing(forged in "[ -~]{0,60}") {
            // A quote that stays open would take in what the proxy appends.
            let x = format!("{forged}, 203.0.113.1");
            let got = client("10.0.0.1", &[("x-forwarded-for", &x)]);
            prop_assert_eq!(got.address, Some("203.0.113.1:0".parse().unwrap()));
            let whole = format!("{forged}, for=203.0.113.1");
            let got = client("10.0.0.1", &[("forwarded", &whole)]);
            prop_assert_eq!(got.address, Some("203.0.113.1:0".parse().unwrap()));
        }
    }
}
