//! Senders of requests, and their shares of a resource.

use std::{
    collections::{HashMap, hash_map::Entry},
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use axum::extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts};
use headwater::{BodyClock, OperationInput};
use http::request::Parts;

use super::rates::Meter;

/// The host that a request comes from, by its address: an IPv4 address, or an IPv6 network of 64
/// bits, which one host usually has. Behind a proxy that the server trusts, it is that of the proxy's
/// client; behind another one, it is the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl Peer {
    fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                Self(Ipv6Addr::from_bits(network).into())
            }
            address => Self(address),
        }
    }

    /// Returns the sender's host. It is `None` if the server doesn't provide the address, or over a
    /// Unix socket.
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        peer.map(|ConnectInfo(address)| Self::new(address.ip()))
    }

    /// Returns the host that sent the current request, for the streams of an app's handlers.
    pub(crate) fn current() -> Option<Self> {
        headwater::client_address().map(|address| Self::new(address.ip()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::of(parts))
    }
}

impl OperationInput for Peer {}

/// The sender of a request, as far as the reading of its body needs it, and what counts its use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    /// `None` as for [`Peer::of`].
    pub(crate) peer: Option<Peer>,
    pub(crate) clock: BodyClock,
    pub(crate) meter: Meter,
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            peer: Peer::of(parts),
            clock: BodyClock::from_request_parts(parts, state).await?,
            meter: Meter::from_request_parts(parts, state).await?,
        })
    }
}

impl OperationInput for Sender {}

/// Shares of a resource, in total and by peer.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    all: usize,
    peers: HashMap<Peer, usize>,
}

/// The limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    All,
    Peer,
}

impl Shares {
    /// Takes `more`. The limit is `most` in total and `share` for one peer.
    ///
    /// # Errors
    /// A limit is reached; nothing is taken.
    pub(crate) fn take(
        &mut self,
        peer: Option<Peer>,
        more: usize,
        most: usize,
        share: usize,
    ) -> Result<(), Full> {
        let all = self.all.saturating_add(more);
        if all > most {
            return Err(Full::All);
        }
        match peer.map(|peer| self.peers.entry(peer)) {
            Some(Entry::Occupied(mut entry)) => {
                let its = entry.get().saturating_add(more);
                if its > share {
                    return Err(Full::Peer);
                }
                *entry.get_mut() = its;
            }
            Some(Entry::Vacant(_)) if more > share => return Err(Full::Peer),
            Some(Entry::Vacant(entry)) => {
                entry.insert(more);
            }
            None => {}
        }
        self.all = all;
        Ok(())
    }

    /// Returns what was taken.
    pub(crate) fn give_back(&mut self, peer: Option<Peer>, less: usize) {
        self.all = self.all.saturating_sub(less);
        if let Some(Entry::Occupied(mut entry)) = peer.map(|peer| self.peers.entry(peer)) {
            let its = entry.get().saturating_sub(less);
            if its == 0 {
                entry.remove();
            } else {
                *entry.get_mut() = its;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn peer(address: &str) -> Option<Peer> {
        Some(Peer::new(address.parse().unwrap()))
    }

    #[test]
    fn a_peer_is_limited_to_its_share() {
        let mut shares = Shares::default();
        let (one, two) = (peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(shares.take(one, 6, 10, 6), Ok(()));
        assert_eq!(shares.take(one, 1, 10, 6), Err(Full::Peer));
        assert_eq!(shares.take(two, 5, 10, 6), Err(Full::All));
        assert_eq!(shares.take(two, 4, 10, 6), Ok(()));
        shares.give_back(one, 6);
        assert_eq!(shares.take(None, 6, 10, 1), Ok(()));
        shares.give_back(two, 4);
        assert!(shares.peers.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_peer_and_a_mapped_address_is_the_ipv4_one() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
    }
}
