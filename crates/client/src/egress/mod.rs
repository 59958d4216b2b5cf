//! Egress rules: which hosts a client may reach when it sends requests on behalf of others.
//!
//! A service that fetches URLs from its users is an entry into its own network: users pass
//! `http://127.0.0.1/`, `http://169.254.169.254/`, or a name of their own that resolves to one of
//! these. An [`Egress`] lists the allowed destinations, and a client with egress rules
//! ([`ClientBuilder::egress`](crate::ClientBuilder::egress)) connects to no others.
//!
//! [`retain_end_to_end`] prepares the headers of a message that is forwarded.

mod address;
mod hop_by_hop;
mod path;
mod pattern;
mod refused;
mod resolver;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use reqwest::{Url, redirect};

use self::{
    address::{is_public, parse_network},
    pattern::{Match, Pattern},
    refused::Why,
    resolver::{Lookup, Resolver},
};
pub use self::{
    hop_by_hop::retain_end_to_end,
    refused::{PatternError, Refused},
};

/// The hosts that a client may reach. Clones are cheap.
///
/// The rules check the request's URL and that of every redirect:
///
/// - the scheme, which is `http` or `https`; the absence of a user's name or password; the host,
///   the port and the path, as the URL parser understands them: `http://2130706433/`,
///   `http://0x7f.1/` and `http://[::ffff:127.0.0.1]/` are addresses of this machine like any
///   other;
/// - an address in the URL, and each address to which the host's name resolves. The client connects
///   to the addresses that passed, and looks a name up once per connection: a name that resolves to
///   a public address first and to this machine later ("DNS rebinding") reaches nothing.
///
/// Addresses that don't belong to the public internet (private, loopback, link-local, and all with
/// a special meaning, also within an IPv6 address) are reached only if they are listed.
///
/// A client with egress rules uses no proxy, because a proxy would resolve names itself.
/// ```
/// use headwater_client::{Client, Egress};
///
/// let egress = Egress::allow(["https://api.example.com/v1/**", "http://127.0.0.1:9000"])?;
/// assert!(egress.check(&"https://api.example.com/v1/chat".parse()?).is_ok());
/// assert!(egress.check(&"http://127.0.0.1:9000/".parse()?).is_ok());
/// let refused = egress.check(&"http://127.0.0.1:22/".parse()?).unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "`127.0.0.1` may not be reached at port 22: only at the ports that are listed"
/// );
///
/// let client = Client::builder().egress(egress).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Egress {
    rules: Arc<Rules>,
    lookup: Lookup,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    patterns: Vec<Pattern>,
    networks: Vec<IpNet>,
    /// `true` if this machine may be reached, by name or address, at any port.
    this_machine: bool,
}

/// The host of a URL.
#[derive(Debug)]
enum Host<'a> {
    /// A name without a trailing dot.
    Name(&'a str),
    Address(IpAddr),
}

impl Egress {
    /// Allows only the listed destinations. An empty list allows none. Each pattern is one of:
    ///
    /// - `scheme://host[:port][/path]`. The host is a name, an address, `*.` followed by a name,
    ///   which matches every name below it but not the name itself, or `*`, which matches any host.
    ///   Without a port the scheme's default applies; `:*` matches any port. Without a path, or
    ///   with `/` alone, any path matches; in a path `*` matches one segment and `**` any number of
    ///   them, as in `/v1/**`. A path has to match in every way in which a server may read it, with
    ///   encoded slashes and dots. An address matches only itself, even if it isn't public.
    ///   `localhost`, or a name that ends with `.localhost`, reaches only this machine, and only if
    ///   it is listed other than by `*`.
    /// - a network, as in `10.0.0.0/8` or `fd00::/8`: the addresses that aren't public to which
    ///   allowed names may resolve. A network alone allows nothing.
    ///
    /// # Errors
    /// A pattern is invalid. The error names it.
    pub fn allow<P: AsRef<str>>(
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<Self, PatternError> {
        let mut rules = Rules::default();
        for pattern in patterns {
            let text = pattern.as_ref().trim();
            let parsed = if text.contains("://") {
                Pattern::parse(text).map(|pattern| rules.patterns.push(pattern))
            } else if text.starts_with(|first: char| first.is_ascii_digit())
                || text.matches(':').count() > 1
            {
                parse_network(text).map(|network| rules.networks.push(network))
            } else {
                Err("it is neither a URL nor a network".to_owned())
            };
            parsed.map_err(|why| PatternError {
                pattern: text.to_owned(),
                why,
            })?;
        }
        Ok(Self::of(rules))
    }

    /// Allows any public host by http or https, at any port, as `http://*:*` and `https://*:*` do.
    #[must_use]
    pub fn public() -> Self {
        let patterns = vec![Pattern::any("http"), Pattern::any("https")];
        Self::of(Rules {
            patterns,
            ..Rules::default()
        })
    }

    /// Allows any public host by https, at any port, as `https://*:*` does.
    #[must_use]
    pub fn public_https() -> Self {
        Self::of(Rules {
            patterns: vec![Pattern::any("https")],
            ..Rules::default()
        })
    }

    /// Also allows this machine: `localhost` and its own addresses, at any port.
    #[must_use]
    pub fn with_this_machine(mut self) -> Self {
        Arc::make_mut(&mut self.rules).this_machine = true;
        self
    }

    fn of(rules: Rules) -> Self {
        Self {
            rules: Arc::new(rules),
            lookup: resolver::system(),
        }
    }

    /// Resolves names with this function instead of the system's resolver. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_lookup<F, R>(mut self, lookup: F) -> Self
    where
        F: Fn(&str) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.lookup = Arc::new(move |name| Box::pin(lookup(&name)));
        self
    }

    /// Returns `true` if nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.patterns.is_empty() && !self.rules.this_machine
    }

    /// Checks a URL as far as possible without resolving names. The addresses of its host's name
    /// are checked at each connection.
    ///
    /// # Errors
    /// The URL isn't allowed; the error has the reason.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let rules = &*self.rules;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused(Why::UserInfo));
        }
        let scheme = url.scheme().to_owned();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused(Why::Scheme { scheme }));
        }
        let named = url.host_str().unwrap_or_default().to_owned();
        let not_allowed = || {
            let host = named.clone();
            Refused(match self.is_empty() {
                true => Why::AnyHost { host },
                false => Why::Host { host },
            })
        };
        let host = Host::of(url).ok_or_else(not_allowed)?;
        if host.is_this_machine() {
            if rules.this_machine {
                return Ok(());
            }
            if !self.lists(&host) {
                return Err(match self.is_empty() {
                    true => not_allowed(),
                    false => Refused(Why::ThisMachine { host: named }),
                });
            }
        }
        let reaches = |address| self.reaches(address);
        let compared = rules
            .patterns
            .iter()
            .map(|pattern| pattern.compare(url, &host, reaches));
        let why = match (compared.max().unwrap_or(Match::NotHost), host) {
            (Match::All, _) => return Ok(()),
            (Match::NotAddress, Host::Address(address)) => Why::Address(address),
            (Match::NotHost | Match::NotAddress, _) => return Err(not_allowed()),
            (Match::NotScheme, _) => Why::OtherScheme {
                scheme,
                host: named,
            },
            (Match::NotPort, _) => Why::Port {
                host: named,
                port: url.port_or_known_default().unwrap_or_default(),
            },
            (Match::NotPath, _) => Why::Path { host: named },
        };
        Err(Refused(why))
    }

    /// Applies the rules to a client of reqwest: to its name resolution, without a proxy, and
    /// without following redirects. The caller still has to [check](Self::check) each URL, because
    /// an address in a URL isn't resolved. A [`Client`](crate::Client) does all of this by itself,
    /// and follows allowed redirects.
    pub fn guard(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        builder
            .no_proxy()
            .dns_resolver(Resolver(self.clone()))
            .redirect(redirect::Policy::none())
    }

    /// Returns the allowed addresses of a name, at least one.
    async fn resolve(
        &self,
        name: &str,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let refused = || {
            Refused(Why::Resolved {
                host: name.to_owned(),
            })
        };
        let host = Host::Name(name.strip_suffix('.').unwrap_or(name));
        let is_this_machine = host.is_this_machine();
        let is_allowed = match is_this_machine {
            true => self.rules.this_machine || self.lists(&host),
            false => self.rules.patterns.iter().any(|rule| rule.is_for(&host)),
        };
        // The URL was already checked, but its parser may have read the name differently.
        if !is_allowed {
            return Err(refused().into());
        }
        let mut addresses = (self.lookup)(name.to_owned()).await?;
        addresses.retain(|address| match is_this_machine {
            true => address.ip().is_loopback(),
            false => self.reaches(address.ip()),
        });
        match addresses.is_empty() {
            true => Err(refused().into()),
            false => Ok(addresses),
        }
    }

    /// Returns `true` if this machine, of which `host` is a name or an address, is listed.
    fn lists(&self, host: &Host<'_>) -> bool {
        let is_named = self.rules.patterns.iter().any(|rule| rule.names(host));
        is_named || matches!(host, Host::Address(address) if self.is_in_network(*address))
    }

    /// Returns `true` if an address may be reached that no pattern names.
    fn reaches(&self, address: IpAddr) -> bool {
        is_public(address) || self.is_in_network(address)
    }

    fn is_in_network(&self, address: IpAddr) -> bool {
        let networks = &self.rules.networks;
        networks.iter().any(|network| network.contains(&address))
    }
}

/// Rules that allow nothing.
impl Default for Egress {
    fn default() -> Self {
        Self::of(Rules::default())
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.fmt(f)
    }
}

impl<'a> Host<'a> {
    /// Returns `None` if there is no host, or if its name has an empty label.
    fn of(url: &'a Url) -> Option<Self> {
        let text = url.host_str()?;
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Some(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_whole = name.split('.').all(|label| !label.is_empty());
        is_whole.then_some(Self::Name(name))
    }

    /// Returns `true` if the host is the local machine, regardless of any name server (RFC 6761
    /// §6.3).
    fn is_this_machine(&self) -> bool {
        match self {
            Self::Name(name) => *name == "localhost" || name.ends_with(".localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }
}
