mod addresses;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proptest::prelude::*;
use reqwest::Url;

use super::*;

fn allow(patterns: &[&str]) -> Egress {
    Egress::allow(patterns).unwrap()
}

fn check(egress: &Egress, url: &str) -> Result<(), String> {
    // A text that isn't a URL is refused earlier.
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    egress.check(&url).map_err(|refused| refused.to_string())
}

/// URLs of hosts that aren't on the public internet. None may be reached if only public hosts are.
const NOT_PUBLIC: &[&str] = &[
    // This machine, in each notation of an IPv4 address.
    "http://127.0.0.1/",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://0177.0x0.1/",
    "http://127.255.255.254/",
    "http://%31%32%37.0.0.1/",
    "http://１２７.０.０.１/",
    "http://127。0。0。1/",
    "http://①②⑦.0.0.1/",
    "http://0.0.0.0/",
    "http://0/",
    "http://0x0/",
    // As an IPv6 address.
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001::1]/",
    // By name.
    "http://localhost/",
    "http://localhost./",
    "http://LOCALHOST/",
    "http://ＬＯＣＡＬＨＯＳＴ/",
    "http://a.localhost/",
    "http://a.b.localhost./",
    // Private, link-local and carrier networks, and those with a special meaning.
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://167772161/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://0xc0a80101/",
    "http://100.64.0.1/",
    "http://169.254.1.1/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::10.0.0.1]/",
    "http://[64:ff9b::a00:1]/",
    "http://[64:ff9b::192.168.0.1]/",
    "http://[2002:a00:1::]/",
    "http://[2002:c0a8:101::1]/",
    "http://[fc00::1]/",
    "http://[fd12:3456::1]/",
    "http://[fe80::1]/",
    "http://[febf::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    // Metadata services of clouds, which reveal a machine's secrets.
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
];

#[test]
fn an_address_outside_the_internet_is_not_public() {
    let public = Egress::public();
    let https = Egress::public_https();
    for url in NOT_PUBLIC {
        assert!(check(&public, url).is_err(), "{url}");
        let url = url.replace("http://", "https://");
        assert!(check(&https, &url).is_err(), "{url}");
        assert!(check(&https, &url.replacen('/', "/x:y@", 1)).is_err());
    }
}

#[test]
fn an_unlisted_address_outside_the_internet_is_not_reached() {
    let egress = allow(&[
        "http://*:*",
        "https://api.example.com",
        "http://127.0.0.1:9000",
        "http://localhost:9000",
    ]);
    for url in NOT_PUBLIC {
        assert!(check(&egress, url).is_err(), "{url}");
    }
    let named = allow(&["http://*.example.com", "10.0.0.0/8", "127.0.0.0/8"]);
    for url in NOT_PUBLIC {
        assert!(check(&named, url).is_err(), "{url}");
    }
}

#[test]
fn an_unlisted_url_is_refused_with_the_reason() {
    let egress = allow(&[
        "https://api.example.com/v1/**",
        "https://*.example.org",
        "http://127.0.0.1:9000",
    ]);
    for (url, why) in [
        (
            "ftp://api.example.com/",
            "the URL's scheme is `ftp`, but only http and https are allowed",
        ),
        (
            "file:///etc/passwd",
            "the URL's scheme is `file`, but only http and https are allowed",
        ),
        (
            "gopher://127.0.0.1:9000/_",
            "the URL's scheme is `gopher`, but only http and https are allowed",
        ),
        (
            "http://api.example.com/v1/",
            "`api.example.com` may not be asked by http, but by https only",
        ),
        (
            "https://me@api.example.com/v1/",
            "the URL holds a user's name or a password, which is not allowed: send them in a header",
        ),
        (
            "https://api.example.com:secret@evil.test/v1/",
            "the URL holds a user's name or a password, which is not allowed: send them in a header",
        ),
        (
            "https://api.example.com:8443/v1/",
            "`api.example.com` may not be reached at port 8443: only at the ports that are listed",
        ),
        (
            "https://api.example.com/v2/?token=secret",
            "`api.example.com` may not be asked for this path: only for the paths that are listed",
        ),
        (
            "https://api.example.com/v1/..%2fadmin",
            "`api.example.com` may not be asked for this path: only for the paths that are listed",
        ),
        (
            "https://evil.test/",
            "`evil.test` may not be reached: it is not among the hosts that are allowed",
        ),
        (
            "https://example.org/",
            "`example.org` may not be reached: it is not among the hosts that are allowed",
        ),
        (
            "https://evilexample.org/",
            "`evilexample.org` may not be reached: it is not among the hosts that are allowed",
        ),
        (
            "https://api.example.com.evil.test/",
            "`api.example.com.evil.test` may not be reached: it is not among the hosts that are allowed",
        ),
        (
            "https://a..example.org/",
            "`a..example.org` may not be reached: it is not among the hosts that are allowed",
        ),
        (
            "https://8.8.8.8/",
            "`8.8.8.8` may not be reached: it is not among the hosts that are allowed",
        ),
        (
            "http://127.0.0.1:9001/",
            "`127.0.0.1` may not be reached at port 9001: only at the ports that are listed",
        ),
        (
            "http://127.0.0.2:9000/",
            "`127.0.0.2` is this machine, which may not be reached: it would have to be listed",
        ),
        (
            "http://localhost:9000/",
            "`localhost` is this machine, which may not be reached: it would have to be listed",
        ),
    ] {
        assert_eq!(check(&egress, url).unwrap_err(), why, "{url}");
    }
    assert_eq!(
        check(&Egress::public(), "http://10.1.2.3/").unwrap_err(),
        "10.1.2.3 may not be reached: it is not a public address, and in no network that is listed"
    );
}

#[test]
fn a_listed_url_is_allowed() {
    for (patterns, urls) in [
        (
            &["https://api.example.com/v1/**"][..],
            &[
                "https://api.example.com/v1/chat?x=1#y",
                "https://API.EXAMPLE.com:443/v1",
                "https://api.example.com./v1/a",
            ][..],
        ),
        (
            &["https://*.example.com"],
            &["https://a.example.com/x", "https://a.b.Example.com/"],
        ),
        (
            &["HTTP://Example.COM:*/"],
            &["http://example.com:1/x", "http://example.com/"],
        ),
        (
            &["http://münchen.example"],
            &["http://xn--mnchen-3ya.example/", "http://MÜNCHEN.example/"],
        ),
        (
            &["http://127.0.0.1:9000"],
            &[
                "http://127.0.0.1:9000/x",
                "http://2130706433:9000/",
                "http://0x7f.1:9000/",
            ],
        ),
        (&["http://0x7f.1:9000"], &["http://127.0.0.1:9000/x"]),
        (&["http://[::1]:9000"], &["http://[0:0::1]:9000/"]),
        (&["http://[::1]"], &["http://[::1]/"]),
        (
            &["http://10.0.0.7:*"],
            &["http://10.0.0.7:1/", "http://10.0.0.7/"],
        ),
        (
            &["http://localhost:*"],
            &["http://localhost:1/", "http://LocalHost.:2/"],
        ),
        (&["http://*.localhost"], &["http://a.localhost/"]),
        (
            &["http://*", "10.0.0.0/8"],
            &["http://10.0.0.7/", "http://8.8.8.8/", "http://a.test/"],
        ),
        (&["http://*", "::1/128"], &["http://[::1]/"]),
        (&[" https://a.test "], &["https://a.test/"]),
    ] {
        let egress = allow(patterns);
        for url in urls {
            assert_eq!(check(&egress, url), Ok(()), "{patterns:?} {url}");
        }
    }
    for url in [
        "http://example.com/",
        "https://example.com:8443/",
        "http://1.1.1.1/",
        "http://[2606:4700::1]/",
        "http://[::ffff:1.1.1.1]/",
        "http://[64:ff9b::1.1.1.1]/",
    ] {
        assert_eq!(check(&Egress::public(), url), Ok(()), "{url}");
    }
}

#[test]
fn an_empty_list_allows_nothing() {
    for egress in [
        Egress::default(),
        allow(&[]),
        allow(&["10.0.0.0/8", "0.0.0.0/0"]),
    ] {
        assert!(egress.is_empty());
        for url in [
            "https://example.com/",
            "http://10.0.0.1/",
            "http://localhost/",
        ] {
            let why = check(&egress, url).unwrap_err();
            assert!(why.ends_with("no host is allowed"), "{why}");
        }
    }
    assert!(!Egress::public().is_empty());
}

#[test]
fn this_machine_is_reached_at_any_port_if_it_is_allowed_as_a_whole() {
    let egress = Egress::public_https().with_this_machine();
    for url in [
        "http://localhost:9/x",
        "http://127.0.0.9/",
        "https://[::1]:9/",
        "http://a.localhost/",
        "https://example.com/",
    ] {
        assert_eq!(check(&egress, url), Ok(()), "{url}");
    }
    for url in [
        "http://0.0.0.0/",
        "https://10.0.0.1/",
        "http://example.com/",
    ] {
        assert!(check(&egress, url).is_err(), "{url}");
    }
}

#[test]
fn an_invalid_pattern_is_named_with_the_remedy() {
    for (pattern, why) in [
        ("api.example.com", "it is neither a URL nor a network"),
        ("", "it is neither a URL nor a network"),
        (
            "ftp://example.com",
            "only http and https are allowed, not `ftp`",
        ),
        (
            "https://me:secret@example.com",
            "a user's name or password can't be part of it",
        ),
        (
            "https://example.com:0",
            "`0` is neither a port from 1 to 65535 nor `*`",
        ),
        (
            "https://example.com:65536",
            "`65536` is neither a port from 1 to 65535 nor `*`",
        ),
        (
            "https://example.com:",
            "`` is neither a port from 1 to 65535 nor `*`",
        ),
        ("https://", "`` is not a host (empty host)"),
        (
            "https://a.*.com",
            "`*` in `a.*.com` is not a whole beginning, as in `*.example.com`",
        ),
        (
            "https://*a.com",
            "`*` in `*a.com` is not a whole beginning, as in `*.example.com`",
        ),
        ("https://*.10.0.0.1", "`10.0.0.1` is an address"),
        (
            "https://example.com?x",
            "a query or a fragment can't be part of it",
        ),
        (
            "10.0.0.1/8",
            "the network begins before that: it is 10.0.0.0/8",
        ),
        ("fe80::1/x", "`x` is not a number of bits from 0 to 128"),
    ] {
        let error = Egress::allow([pattern]).unwrap_err().to_string();
        let wanted = format!("{pattern:?} can't be allowed: {why}; it should be like ");
        assert!(error.starts_with(&wanted), "{error}");
    }
}

/// Returns `true` for the blocks in IANA's registries that aren't public. Written independently of
/// the code under test.
fn is_special(address: IpAddr) -> bool {
    const BLOCKS: &[&str] = &[
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ];
    let inner = match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0 | 0xffff, a, b]
            | [0x64, 0xff9b, 0, 0, 0, 0, a, b]
            | [0x2002, a, b, ..] => Some(u32::from(a) << 16 | u32::from(b)),
            _ => None,
        },
        IpAddr::V4(_) => None,
    };
    let is_in = |address| {
        BLOCKS
            .iter()
            .any(|block| parse_network(block).unwrap().contains(&address))
    };
    is_in(address) || inner.is_some_and(|v4| is_in(std::net::Ipv4Addr::from_bits(v4).into()))
}

/// An address in one of its notations, with a bias to special addresses.
fn notation() -> impl Strategy<Value = String> {
    let v4 = prop_oneof![
        any::<u32>(),
        prop::sample::select(vec![
            0x7f00_0001_u32,
            0x0a00_0001,
            0xa9fe_a9fe,
            0xc0a8_0101,
            0xac10_0001,
            0x6440_0001,
            1,
            0xe000_0001,
        ])
    ];
    (v4, any::<[u16; 8]>(), 0..12_u8).prop_map(|(v4, v6, form)| {
        let [a, b, c, d] = v4.to_be_bytes();
        let (high, low) = (v4 >> 16, v4 & 0xffff);
        match form {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => format!("{v4}"),
            2 => format!("0x{v4:x}"),
            3 => format!("0{v4:o}"),
            4 => format!("0x{a:x}.0{b:o}.{low}"),
            5 => format!("{a}.{}", v4 & 0xff_ffff),
            6 => format!("[::ffff:{high:x}:{low:x}]"),
            7 => format!("[::{a}.{b}.{c}.{d}]"),
            8 => format!("[64:ff9b::{high:x}:{low:x}]"),
            9 => format!("[2002:{high:x}:{low:x}::1]"),
            10 => format!("[{}]", std::net::Ipv6Addr::from(v6)),
            _ => format!("%3{}{}.{b}.{c}.{d}.", a / 100 % 10, a % 100),
        }
    })
}

proptest! {
    #[test]
    fn every_allowed_address_is_public_or_listed(
        host in notation(), port in any::<u16>(), user in "(me@|me:pw@|)",
    ) {
        let listed: IpAddr = "127.0.0.1".parse().unwrap();
        let network = parse_network("10.0.0.0/8").unwrap();
        let lists = allow(&["http://*:*", "http://127.0.0.1:9000", "10.0.0.0/8"]);
        let Ok(url) = Url::parse(&format!("http://{user}{host}:{port}/")) else { return Ok(()) };
        let Some(Host::Address(address)) = Host::of(&url) else { return Ok(()) };
        if Egress::public().check(&url).is_ok() {
            prop_assert!(user.is_empty() && !is_special(address), "{url}");
        }
        if lists.check(&url).is_ok() {
            let is_listed = network.contains(&address) || address == listed && port == 9000;
            prop_assert!(user.is_empty() && (is_listed || !is_special(address)), "{url}");
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in "(https?://)?[a-z0-9*.:/\\[\\]@%-]{0,24}") {
        let _ = Egress::allow([text]);
    }
}
