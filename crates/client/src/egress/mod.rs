//! Which hosts a client may reach, for those who make requests that others have asked for.
//!
//! A service that fetches what its users name is a way into the network it stands in: users name
//! `http://127.0.0.1/`, `http://169.254.169.254/` or a name of their own that stands for one of these.
//! An [`Egress`] says what may be reached, and a client that has one
//! ([`ClientBuilder::egress`](crate::ClientBuilder::egress)) connects to nothing else.
//!
//! [`retain_end_to_end`] is for those who forward what they got.

mod address;
mod headers;
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

use reqwest::{Url, redirect};

use self::{
    address::{Network, is_public},
    pattern::{Match, Pattern},
    refused::Why,
    resolver::{Lookup, Resolver},
};
pub use self::{
    headers::retain_end_to_end,
    refused::{PatternError, Refused},
};

/// Which hosts a client may reach. Cloning it is cheap.
///
/// What it checks, for the request's URL and for that of every redirect:
///
/// - the scheme, which is `http` or `https`; that no user's name or password is in it; the host, the
///   port and the path, as the URL's parser understands them: `http://2130706433/`, `http://0x7f.1/`
///   and `http://[::ffff:127.0.0.1]/` are addresses of this machine like any other;
/// - an address in the URL, and each address that the host's name stands for. The client connects to
///   those that passed, and looks a name up once for it: a name that is public first and this machine
///   then ("DNS rebinding") reaches nothing.
///
/// Addresses that aren't the internet's (private, of this machine, of the link, and all those that
/// have a special meaning, also within an IPv6 address) are reached only where they are listed.
///
/// A client that has one asks no proxy: it would look names up itself.
///
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
    networks: Vec<Network>,
    /// This machine, by name or address, at any port.
    this_machine: bool,
}

/// A URL's host.
#[derive(Debug)]
enum Host<'a> {
    /// Without a dot at its end.
    Name(&'a str),
    Address(IpAddr),
}

impl Egress {
    /// Only what is listed. An empty list reaches nothing. Each is one of:
    ///
    /// - `scheme://host[:port][/path]`. The host is a name, an address, `*.` and a name, which is each
    ///   name that ends with it but not itself, or `*`, which is any. Without a port it is the
    ///   scheme's own, `:*` is any. Without a path, or with `/` alone, it is any; in a path `*` stands
    ///   for one segment and `**` for any number of them, as in `/v1/**`. A path has to match in
    ///   each way that a server may read it, with encoded slashes and dots.
    ///   An address reaches just itself, whatever it is. `localhost`, or a name that ends with
    ///   `.localhost`, reaches this machine alone, and only where it is listed and not by `*`.
    /// - a network, as in `10.0.0.0/8` or `fd00::/8`: which addresses that aren't public the names may
    ///   stand for. Alone it reaches nothing.
    ///
    /// # Errors
    /// One is none of that. The error names it.
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
                Network::parse(text).map(|network| rules.networks.push(network))
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

    /// Any public host by http or https, at any port. The same as allowing `http://*:*` and
    /// `https://*:*`.
    #[must_use]
    pub fn public() -> Self {
        let patterns = vec![Pattern::any("http"), Pattern::any("https")];
        Self::of(Rules {
            patterns,
            ..Rules::default()
        })
    }

    /// Any public host by https, at any port. The same as allowing `https://*:*`.
    #[must_use]
    pub fn public_https() -> Self {
        Self::of(Rules {
            patterns: vec![Pattern::any("https")],
            ..Rules::default()
        })
    }

    /// This machine, too: `localhost`, and its own addresses, at any port.
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

    /// Looks names up by this function instead of asking the system. For tests.
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

    /// Whether nothing at all may be reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.patterns.is_empty() && !self.rules.this_machine
    }

    /// Checks what can be seen of a URL. What its host's name stands for is seen only where it is
    /// connected to, each time.
    ///
    /// # Errors
    /// It may not be reached; what is wrong with it.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let rules = &*self.rules;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused(Why::UserInfo));
        }
        let scheme = url.scheme().to_owned();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused(Why::Scheme { scheme, host: None }));
        }
        let named = url.host_str().unwrap_or_default().to_owned();
        let not_allowed = || {
            Refused(Why::Host {
                host: named.clone(),
                nothing_is_allowed: self.is_empty(),
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
            (Match::NotScheme, _) => Why::Scheme {
                scheme,
                host: Some(named),
            },
            (Match::NotPort, _) => Why::Port {
                host: named,
                port: url.port_or_known_default().unwrap_or_default(),
            },
            (Match::NotPath, _) => Why::Path { host: named },
        };
        Err(Refused(why))
    }

    /// Makes a client of reqwest keep to it: by how it looks names up, without a proxy, and without following redirects.
    /// What is asked for is still to be [checked](Self::check), as an address in a URL isn't looked up. A
    /// [`Client`](crate::Client) does all of it by itself, and follows redirects to where it may go.
    pub fn guard(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        builder
            .no_proxy()
            .dns_resolver(Resolver(self.clone()))
            .redirect(redirect::Policy::none())
    }

    /// The addresses of a name that may be connected to: one at least.
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
        // Checked with the URL already, unless there a name was read in another way than here.
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

    /// Whether this machine, of which it is a name or address, is listed.
    fn lists(&self, host: &Host<'_>) -> bool {
        let is_named = self.rules.patterns.iter().any(|rule| rule.names(host));
        is_named || matches!(host, Host::Address(address) if self.is_in_network(*address))
    }

    /// Whether an address may be connected to that no pattern names.
    fn reaches(&self, address: IpAddr) -> bool {
        is_public(address) || self.is_in_network(address)
    }

    fn is_in_network(&self, address: IpAddr) -> bool {
        let networks = &self.rules.networks;
        networks.iter().any(|network| network.contains(address))
    }
}

/// Reaches nothing.
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
    /// None where there is none, or a name has an empty label.
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

    /// Whether it means the machine that asks, whatever a name server says (RFC 6761 §6.3).
    fn is_this_machine(&self) -> bool {
        match self {
            Self::Name(name) => *name == "localhost" || name.ends_with(".localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }
}
