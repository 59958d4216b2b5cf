//! The egress rules: a URL in the first line, and a pattern in each line after it.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headwater_client::{Egress, Url};
use libfuzzer_sys::fuzz_target;

/// Returns `true` if an address is known not to be on the internet. It is written independently of
/// the fuzzed code and of the list in its tests.
fn is_local(address: IpAddr) -> bool {
    let v4 = |address: Ipv4Addr| {
        address.is_loopback()
            || address.is_private()
            || address.is_link_local()
            || address.is_unspecified()
    };
    let v6 = |address: Ipv6Addr| {
        address.is_loopback()
            || address.is_unspecified()
            || address.is_unique_local()
            || address.is_unicast_link_local()
            || address.to_ipv4_mapped().is_some_and(v4)
    };
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some(url) = lines.next().and_then(|line| Url::parse(line).ok()) else {
        return;
    };
    assert!(Egress::default().check(&url).is_err());
    let address = address(&url);
    if Egress::public().check(&url).is_ok() {
        assert!(!address.is_some_and(is_local), "{url}");
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        assert!(
            host != "localhost" && !host.ends_with(".localhost"),
            "{url}"
        );
    }
    let Ok(egress) = Egress::allow(lines) else {
        return;
    };
    match egress.check(&url) {
        Ok(()) => {
            assert!(matches!(url.scheme(), "http" | "https"), "{url}");
            assert!(
                url.username().is_empty() && url.password().is_none(),
                "{url}"
            );
            assert!(!egress.is_empty());
        }
        // The error always has a message, on one line.
        Err(refused) => assert!(!refused.to_string().contains('\n')),
    }
});
