//! Which URLs the hub calls: none that reaches what only the hub's own network can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::limits::URL_BYTES;

/// Checks a webhook's URL: `https`, with no name or password in it, and not at an address that isn't
/// public. With `loopback`, `http` and `https` on this machine too. The error says what is wrong.
///
/// What a host's name stands for is seen later, by the [`PublicResolver`], each time it is called: it
/// may change.
pub(super) fn check(url: &str, loopback: bool) -> Result<Url, &'static str> {
    if url.len() > URL_BYTES {
        return Err("the webhook's URL is too long");
    }
    let url = Url::parse(url).map_err(|_| "the webhook's URL is none")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the webhook's URL can't have a user name or password in it");
    }
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok();
    let is_local = is_localhost(host) || address.is_some_and(|address| address.is_loopback());
    match url.scheme() {
        "https" | "http" if is_local => {
            if !loopback {
                return Err("webhooks on this machine are not allowed here");
            }
        }
        "https" => {}
        _ => return Err("the webhook's URL is to be https"),
    }
    if host.is_empty() || address.is_some_and(|address| !is_local && !is_public(address)) {
        return Err("the webhook's URL is to be at a public address");
    }
    Ok(url)
}

/// Whether a host's name means this machine, whatever a name server says (RFC 6761 §6.3).
fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether an address is one of the internet's, and no network's or machine's own.
fn is_public(address: IpAddr) -> bool {
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
        // Shared by a carrier's customers (RFC 6598).
        || (a == 100 && b & 0xc0 == 64)
        // For protocols (RFC 6890), and 6to4's relays (RFC 7526).
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        // For benchmarks (RFC 2544).
        || (a == 198 && b & 0xfe == 18)
        // For later (RFC 1112).
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    // An IPv4 address in other clothes: mapped, compatible, by NAT64 (RFC 6052) or by 6to4 (RFC 3056).
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => return v4(g, h),
        (0x2002, ..) => return v4(b, c),
        _ => {}
    }
    // Global unicast is 2000::/3 (RFC 4291); within it are Teredo, ORCHID and documentation.
    a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x200)
        && !(a == 0x2001 && b == 0xdb8)
        && !(a == 0x3fff && b < 0x1000)
}

/// Gives of a host's addresses those that the hub may call. A host that has no other is not found.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicResolver {
    /// Whether `localhost` is allowed, which is then this machine and nothing else.
    pub(super) loopback: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let loopback = self.loopback;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let local = is_localhost(name.as_str());
            let allowed: Vec<SocketAddr> = found
                .filter(|address| match local {
                    true => loopback && address.ip().is_loopback(),
                    false => is_public(address.ip()),
                })
                .collect();
            if allowed.is_empty() {
                return Err("the webhook's host has no public address".into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_on_public_hosts_is_called() {
        for good in [
            "https://worker.example/hooks",
            "https://1.1.1.1:8443/x",
            "https://[2606:4700::1]/",
        ] {
            assert!(check(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://worker.example/",
            "ftp://worker.example/",
            "https://user@worker.example/",
            "https://:secret@worker.example/",
            "worker.example",
            "",
            "https://localhost/",
            "https://a.localhost./",
            "http://127.0.0.1/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://0/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[2002:a00:1::]/",
            "https://[fe80::1]/",
            "https://[fc00::1]/",
            "https://[2001:db8::1]/",
            "https://[ff02::1]/",
        ] {
            assert!(check(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_called_only_where_that_is_allowed() {
        for local in [
            "http://localhost:9/x",
            "http://127.0.0.1:9",
            "http://127.0.0.9/",
            "http://[::1]:9/",
        ] {
            assert!(check(local, true).is_ok(), "{local}");
            assert!(check(local, false).is_err(), "{local}");
        }
        for bad in [
            "http://10.0.0.1/hook",
            "http://worker.example/",
            "https://192.168.1.1/",
            "http://0.0.0.0/",
        ] {
            assert!(check(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_of_the_greatest_length_passes_and_one_more_byte_does_not() {
        let start = "https://worker.example/";
        let url = format!("{start}{}", "a".repeat(URL_BYTES - start.len()));
        assert!(check(&url, false).is_ok());
        assert!(check(&format!("{url}a"), false).is_err());
    }

    #[tokio::test]
    async fn a_name_that_stands_for_this_machine_is_not_found_unless_allowed() {
        let resolve = async |loopback| {
            PublicResolver { loopback }
                .resolve("localhost".parse().unwrap())
                .await
                .is_ok()
        };
        assert!(!resolve(false).await);
        assert!(resolve(true).await);
    }
}
