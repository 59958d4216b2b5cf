use std::time::Duration;

use headwater_auth::Rates;

/// Maximum number of senders of each kind whose use of their rates is remembered. Further ones share a
/// usage until others can be forgotten. Each takes about 350 bytes.
pub(crate) const SENDERS: usize = 1 << 16;

/// The `Retry-After` of a refused live reader: the sender has to close another one first.
pub(crate) const OPEN_RETRY: Duration = Duration::from_secs(5);

/// Rates of senders. Default: no limits.
///
/// A request counts for one sender: the key that it has, or the subject of its token, or else its
/// address, which is an IPv4 address or an IPv6 network of 64 bits. A request with invalid credentials
/// counts for its address. Without an address, as over a Unix socket, it isn't limited.
///
/// ```
/// use headwater_hub::{Options, RateLimits};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut limits = RateLimits::default();
/// limits.address = "requests=20:100,bytes=1MiB,created=30/m,open=20".parse()?;
/// limits.subject = "messages=1000,open=100".parse()?;
/// let options = Options::new().rate_limits(limits);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimits {
    /// Rates of one address: of its requests that have neither a key nor a token with a `sub`.
    pub address: Rates,
    /// Rates of one key, except where the key file has other rates for it.
    pub key: Rates,
    /// Rates of one subject (`sub`) of tokens.
    pub subject: Rates,
}
