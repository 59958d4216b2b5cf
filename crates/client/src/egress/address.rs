//! Public addresses, and networks of addresses that aren't.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Returns `true` for an address of the public internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        // Shared address space of carriers (RFC 6598).
        || (a == 100 && b & 0xc0 == 64)
        // Protocol assignments (RFC 6890), and 6to4 relays (RFC 7526).
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        // Benchmarks (RFC 2544).
        || (a == 198 && b & 0xfe == 18)
        // Reserved (RFC 1112).
        || a >= 240
        // Looks public, but is each machine's own host in Azure, which reveals the machine's
        // secrets.
        || address == Ipv4Addr::new(168, 63, 129, 16))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    // An embedded IPv4 address: mapped, compatible, by NAT64 (RFC 6052) or by 6to4 (RFC 3056).
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => return v4(g, h),
        (0x2002, ..) => return v4(b, c),
        _ => {}
    }
    // Global unicast is 2000::/3 (RFC 4291). It contains Teredo, ORCHID and documentation.
    a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x200)
        && !(a == 0x2001 && b == 0xdb8)
        && !(a == 0x3fff && b < 0x1000)
}

/// Parses a network, `ADDRESS/PREFIX`, or an address, which is a network of one.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    let (first, prefix) = match text.split_once('/') {
        Some((first, prefix)) => (first, Some(prefix)),
        None => (text, None),
    };
    let first: IpAddr = first
        .parse()
        .map_err(|_| format!("`{first}` is not an address"))?;
    let one = IpNet::from(first);
    let Some(prefix) = prefix else {
        return Ok(one);
    };
    let network = prefix
        .parse()
        .ok()
        .and_then(|prefix| IpNet::new(first, prefix).ok());
    let network = network.ok_or_else(|| {
        let width = one.max_prefix_len();
        format!("`{prefix}` is not a number of bits from 0 to {width}")
    })?;
    if network.addr() != network.network() {
        return Err(format!(
            "the network begins before that: it is {}",
            network.trunc()
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.1.0.0/16", "10.1.2.3", "10.2.0.0"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("::1/128", "::1", "::2"),
            ("::/0", "ff02::1", "127.0.0.1"),
            ("fd00::/8", "fdff::1", "fc00::1"),
            ("10.0.0.0/8", "10.0.0.0", "::ffff:10.0.0.1"),
        ] {
            let parsed = parse_network(network).unwrap();
            assert!(
                parsed.contains(&inside.parse::<IpAddr>().unwrap()),
                "{network}"
            );
            assert!(
                !parsed.contains(&outside.parse::<IpAddr>().unwrap()),
                "{network}"
            );
        }
    }

    #[test]
    fn an_invalid_network_is_explained() {
        for (bad, why) in [
            ("10.0.0.0/33", "`33` is not a number of bits from 0 to 32"),
            ("::/129", "`129` is not a number of bits from 0 to 128"),
            ("10.0.0.0/", "`` is not a number of bits from 0 to 32"),
            ("10.0.0/8", "`10.0.0` is not an address"),
            (
                "10.1.2.3/8",
                "the network begins before that: it is 10.0.0.0/8",
            ),
        ] {
            assert_eq!(parse_network(bad).unwrap_err(), why, "{bad}");
        }
    }
}
