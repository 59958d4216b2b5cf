//! Trusted proxies, and what they report of their clients.

use std::net::{IpAddr, SocketAddr};

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
///
/// ```no_run
/// use headwater::TrustedProxies;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let proxies = TrustedProxies::parse(["10.0.0.0/8", "127.0.0.1"])?;
/// headwater::serve(headwater::Router::new(), "0.0.0.0:8000")
///     .trusted_proxies(proxies)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

/// The error of a text that names no proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a network of proxies; one is like `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`, or `unix` for the \
     peers of a Unix socket"
)]
pub struct NoNetwork(String);

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
        self.networks
            .iter()
            .any(|network| network.contains(&address))
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
mod tests;
