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
    check(
        "198.51.100.1",
        &[("forwarded", "for=203.0.113.1")],
        "198.51.100.1:9 - -",
    );
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
    check(
        "10.0.0.1",
        &x("1.1.1.1, 203.0.113.1, 10.2.3.4"),
        "203.0.113.1:0 - -",
    );
    check("10.0.0.1", &x("10.0.0.9, 10.2.3.4"), "10.0.0.9:0 - -");
    check(
        "192.0.2.7",
        &x("[2001:db8::1]:5, 203.0.113.1:77"),
        "203.0.113.1:77 - -",
    );
    check("10.0.0.1", &x("2001:dead::1"), "[2001:dead::1]:0 - -");
    check("10.0.0.1", &x("::ffff:203.0.113.1"), "203.0.113.1:0 - -");
    let lines = [
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-for", "10.0.0.2"),
    ];
    check("10.0.0.1", &lines, "203.0.113.1:0 - -");
}

#[test]
fn what_is_malformed_ends_the_search() {
    let x = |value| [("x-forwarded-for", value)];
    check(
        "10.0.0.1",
        &x("203.0.113.1, nonsense, 10.0.0.2"),
        "10.0.0.2:0 - -",
    );
    check(
        "10.0.0.1",
        &x("203.0.113.1, , 10.0.0.2"),
        "203.0.113.1:0 - -",
    );
    for bad in [
        "unknown",
        "_hidden",
        "",
        ",",
        "1.2.3",
        "[::1",
        "1.2.3.4:99999",
        "::1]:3",
        "fe80::1%eth0",
    ] {
        check("10.0.0.1", &x(bad), "10.0.0.1:9 - -");
    }
    check(
        "10.0.0.1",
        &[("x-forwarded-proto", "gopher")],
        "10.0.0.1:9 - -",
    );
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
        &one(
            "for=1.1.1.1;host=evil, For=\"[2001:dead::1]:47\" ; PROTO=https, for=10.0.0.2;proto=http;host=b",
        ),
        "[2001:dead::1]:47 https b",
    );
    check(
        "10.0.0.1",
        &one("for=\"203.0.113.1:_x\";by=_me"),
        "203.0.113.1:0 - -",
    );
    check(
        "10.0.0.1",
        &one("host=\"a.example:80\""),
        "10.0.0.1:9 - a.example:80",
    );
    check(
        "10.0.0.1",
        &one("for=unknown;proto=https"),
        "10.0.0.1:9 https -",
    );
    check("10.0.0.1", &one("for=_gazonk"), "10.0.0.1:9 - -");
    // Separators within a quoted string separate nothing.
    check(
        "10.0.0.1",
        &one("for=203.0.113.1;x=\"a,b;for=1.1.1.1\\\"\""),
        "203.0.113.1:0 - -",
    );
    for bad in [
        "for",
        "for=",
        "=a",
        "for=a b",
        "for=\"1.1.1.1",
        "for==1.1.1.1",
        "f or=1.1.1.1",
        "for=1.1.1.1;for=2.2.2.2",
    ] {
        check("10.0.0.1", &one(bad), "10.0.0.1:9 - -");
    }
    let both = [
        ("forwarded", "for=1.1.1.1"),
        ("x-forwarded-for", "203.0.113.1"),
    ];
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
    check(
        "10.0.0.1",
        &[("x-forwarded-for", &chain(MAX_HOPS - 1))],
        "203.0.113.1:0 - -",
    );
    check(
        "10.0.0.1",
        &[("x-forwarded-for", &chain(MAX_HOPS))],
        "10.1.1.0:0 - -",
    );
}

#[test]
fn a_network_is_an_address_or_has_a_prefix() {
    for good in [
        "10.0.0.0/8",
        "10.1.2.3/8",
        "::1",
        "2001:db8::/32",
        "unix",
        " 1.2.3.4 ",
    ] {
        assert!(!TrustedProxies::parse([good]).unwrap().is_empty(), "{good}");
    }
    for bad in [
        "",
        "10.0.0.0/33",
        "10.0.0",
        "proxy.example",
        "*",
        "unix:",
        "::/129",
    ] {
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
