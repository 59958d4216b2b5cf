//! The options of what calls upstreams: gathers and relays.

#[cfg(feature = "relay")]
use std::time::Duration;

use headwater_client::Egress;

use super::Options;
#[cfg(feature = "relay")]
use crate::limits::UpstreamLimits;

/// The options of what calls upstreams.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpstreamOptions {
    /// The servers that may be called.
    pub(crate) allow: Egress,
    /// The secret that calls require, if there is one.
    pub(crate) secret: Option<Secret>,
    #[cfg(feature = "relay")]
    pub(crate) relay: RelayOptions,
}

/// The options of relays alone.
#[cfg(feature = "relay")]
#[derive(Clone, Debug)]
pub(crate) struct RelayOptions {
    /// The bounds on the upstream's response.
    pub(crate) limits: UpstreamLimits,
    /// Time for which a stream is kept after its last use.
    pub(crate) ttl: Duration,
}

/// A text that isn't printed by `Debug`.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

headwater_wire::opaque!(Secret);

#[cfg(feature = "relay")]
impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            limits: UpstreamLimits::default(),
            ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Options {
    /// Sets the servers that the hub may call for `POST /gather` and `POST /relay`. Default: none,
    /// and both are refused with 403.
    ///
    /// ```
    /// use headwater_client::Egress;
    /// use headwater_hub::Options;
    ///
    /// let options = Options::new().upstreams(Egress::allow(["https://api.example.com/v1/**"])?);
    /// # Ok::<(), headwater_client::egress::PatternError>(())
    /// ```
    #[must_use]
    pub fn upstreams(mut self, upstreams: Egress) -> Self {
        self.upstream.allow = upstreams;
        self
    }

    /// Sets the time in which the head of an upstream's response has to arrive. Default: 60 s.
    #[cfg(feature = "relay")]
    #[must_use]
    pub fn upstream_head_timeout(mut self, timeout: Duration) -> Self {
        self.upstream.relay.limits.head_timeout = timeout;
        self
    }

    /// Sets how long the response of an upstream may be silent. Default: 10 minutes.
    #[cfg(feature = "relay")]
    #[must_use]
    pub fn upstream_idle_timeout(mut self, timeout: Duration) -> Self {
        self.upstream.relay.limits.idle_timeout = timeout;
        self
    }

    /// Sets the secret that is required to create, delete and inspect relays: `Authorization:
    /// Bearer …`. Reading or aborting a relay only requires its URL. Default: none, and no secret
    /// is required. With [`auth`](Self::auth) it has no effect: the actions `relay` and `gather` are
    /// required instead.
    #[must_use]
    pub fn relay_secret(mut self, secret: &str) -> Self {
        self.upstream.secret = Some(Secret(secret.to_owned()));
        self
    }

    /// Drops the secret if there is authorization: both are in the header `Authorization`.
    pub(crate) fn without_replaced_secret(mut self) -> Self {
        if (self.auth.is_some() || self.hook.is_some()) && self.upstream.secret.take().is_some() {
            tracing::warn!("the relay secret has no effect: the hub has authorization");
        }
        self
    }

    /// Sets the time for which a relay's stream is kept after its last use, unless its creator sets
    /// it. Its URL is valid for as long. Default: 24 hours.
    #[cfg(feature = "relay")]
    #[must_use]
    pub fn relay_ttl(mut self, ttl: Duration) -> Self {
        self.upstream.relay.ttl = ttl;
        self
    }
}
