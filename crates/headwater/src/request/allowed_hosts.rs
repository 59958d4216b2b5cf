//! The hosts that a server serves: a protection against DNS rebinding.

use std::{
    borrow::Cow,
    net::{Ipv4Addr, Ipv6Addr},
};

use headwater_wire::terminal::ShellWord;
use http::{Request, StatusCode};

use super::host;
use crate::{BoundAddress, Problem};

/// The hosts that a server serves: the valid values of a request's `Host`, or of `:authority` in
/// HTTP/2.
///
/// A web page can make its own name resolve to 127.0.0.1 (DNS rebinding). Its browser then treats a
/// local server as the page's origin, and the page can read and change everything there. Only the
/// requested host name distinguishes such a request from others. So under [`serve`](crate::serve),
/// a server that listens on a loopback address serves only the names of that address: `localhost`,
/// names that end in `.localhost`, 127.0.0.0/8 and `[::1]`, with any port. It refuses other
/// requests with 421. A server at any other address or at a Unix socket serves every host, unless a
/// list is set.
///
/// If a proxy on the same machine forwards the `Host` of its clients, its names must be
/// [listed](Self::allow):
///
/// ```no_run
/// # async fn example(app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
/// use headwater::Hosts;
///
/// headwater::serve(app, "127.0.0.1:8000")
///     .hosts(Hosts::allow(["app.example.com"])?)
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Under another server, such as `axum::serve`, the [layer](crate::NegotiateLayer::hosts) has the
/// same setting.
///
/// A request without a host is accepted: only HTTP/1.0 permits such requests, and browsers don't
/// send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    /// The names of the loopback interface, and these.
    Listed {
        names: Vec<Name>,
        /// If `true`, checks apply at every listener, not only on loopback addresses.
        everywhere: bool,
    },
}

/// A listed name, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    One(String),
    /// Every name with this suffix, which begins with a dot.
    Under(String),
}

/// The error of a name that is not a valid host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a host; a host is like `app.example.com`, `*.example.com`, `192.0.2.1` or `[2001:db8::1]`, \
     without a scheme, a port or a path"
)]
pub struct NoHost(String);

impl Default for Hosts {
    /// Accepts only the names of the loopback interface at listeners on a loopback address, and any
    /// host at others.
    fn default() -> Self {
        Self(Kind::Listed {
            names: Vec::new(),
            everywhere: false,
        })
    }
}

impl Hosts {
    /// Accepts every host.
    #[must_use]
    pub fn any() -> Self {
        Self(Kind::Any)
    }

    /// Accepts only the names of the loopback interface, at every listener.
    #[must_use]
    pub fn loopback() -> Self {
        Self(Kind::Listed {
            names: Vec::new(),
            everywhere: true,
        })
    }

    /// Accepts these hosts and the names of the loopback interface, at every listener.
    /// `*.example.com` matches every name with that suffix. Ports are ignored.
    ///
    /// # Errors
    /// One of the names is not a valid host.
    pub fn allow<I>(names: I) -> Result<Self, NoHost>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut names = names.into_iter();
        names.try_fold(Self::loopback(), |hosts, name| hosts.and(name.as_ref()))
    }

    /// Adds a host. The listeners at which hosts are checked don't change.
    ///
    /// # Errors
    /// The name is not a valid host.
    pub fn and(mut self, name: &str) -> Result<Self, NoHost> {
        let name = Name::parse(name).ok_or_else(|| NoHost(name.to_owned()))?;
        if let Kind::Listed { names, .. } = &mut self.0 {
            names.push(name);
        }
        Ok(self)
    }

    /// Returns `true` if the host of an authority, such as `localhost:8000`, is accepted.
    #[must_use]
    pub fn contains(&self, authority: &str) -> bool {
        // A text that is not an authority, such as one with user information, is not a host either.
        self.0 == Kind::Any || (host::is_authority(authority) && self.has(authority))
    }

    /// Does what [`contains`](Self::contains) does, for a text that is an authority.
    fn has(&self, authority: &str) -> bool {
        let Kind::Listed { names, .. } = &self.0 else {
            return true;
        };
        let host = host::without_port(authority);
        let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        is_loopback(&host) || names.iter().any(|name| name.is_for(&host))
    }

    /// Returns the hosts to check at a listener, if it checks any.
    pub(crate) fn at(self, listener: &BoundAddress) -> Option<Self> {
        match &self.0 {
            Kind::Any => None,
            Kind::Listed { everywhere, .. } => {
                let is_loopback = match listener {
                    BoundAddress::Tcp(address) | BoundAddress::Tls(address) => {
                        address.ip().to_canonical().is_loopback()
                    }
                    BoundAddress::Unix(_) => false,
                };
                (*everywhere || is_loopback).then_some(self)
            }
        }
    }

    /// Checks the host that a request is for, after [`host::check`] has validated it. The authority
    /// of its target takes precedence over `Host` (RFC 9112 §3.2.2).
    ///
    /// # Errors
    /// 421 (RFC 9110 §15.5.20): the host is not accepted.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let named = match request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => host::one(request.headers())?,
        };
        match named {
            Some(named) if !self.has(named) => {
                let host = host::without_port(named);
                Err(Problem::new(StatusCode::MISDIRECTED_REQUEST).detail(format!(
                    "the request is for the host {host:?}, which this server does not serve. If the name is right, \
                     for example behind a proxy that forwards the Host of its clients, allow it: \
                     `headwater serve --allow-host {}`, `allow_hosts` in its file, or `Serve::hosts` in code",
                    ShellWord(host)
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        if let Some(rest) = lower.strip_prefix("*.") {
            let is_name = is_name(rest) && rest.parse::<Ipv4Addr>().is_err();
            return is_name.then(|| Self::Under(format!(".{rest}")));
        }
        let is_literal = lower.starts_with('[') && host::is_authority(lower);
        let is_host = is_name(lower) || (is_literal && host::without_port(lower) == lower);
        is_host.then(|| Self::One(lower.to_owned()))
    }

    /// Returns `true` if this name matches `host`, which is in lower case.
    fn is_for(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::One(name) => match (literal(name), literal(host)) {
                (Some(one), Some(other)) => one == other,
                _ => name == host,
            },
            Self::Under(end) => host.len() > end.len() && host.ends_with(end),
        }
    }
}

/// Returns `true` if a text consists of labels separated by dots. `_` is allowed because names in
/// use contain it.
fn is_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_fine)
    })
}

/// Parses an IPv6 address in brackets.
fn literal(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Returns `true` if a host, in lower case, belongs to the loopback interface. Browsers and
/// resolvers reserve `localhost` and all names below it for that (RFC 6761 §6.3), with or without a
/// trailing dot. Addresses count only in their usual notation.
fn is_loopback(host: &str) -> bool {
    // The usual ones, without parsing.
    if matches!(host, "localhost" | "127.0.0.1") {
        return true;
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    if let Some(address) = literal(host) {
        return address.is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    match name.strip_suffix("localhost") {
        Some("") => true,
        Some(labels) => labels.strip_suffix('.').is_some_and(is_name),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_recognised_only_in_their_usual_notation() {
        let hosts = Hosts::loopback();
        for good in [
            "localhost",
            "LocalHost",
            "localhost:8000",
            "localhost:",
            "localhost.",
            "localhost.:80",
            "app.localhost",
            "a.b.LOCALHOST:1",
            "a.localhost.",
            "127.0.0.1",
            "127.0.0.1:8000",
            "127.255.255.254",
            "[::1]",
            "[::1]:8000",
            "[::1]:",
            "[0:0:0:0:0:0:0:1]",
        ] {
            assert!(hosts.contains(good), "{good}");
        }
        for bad in [
            "",
            ":8000",
            "evil.example",
            "localhost.evil.com",
            "localhost.evil.com:8000",
            "localhost..",
            ".localhost",
            "..localhost",
            "a..localhost",
            "evillocalhost",
            "evil-localhost",
            "localhost@evil.com",
            "evil.com@localhost",
            "localhost:80@evil.com",
            "localhost:80:80",
            "localhost:65536",
            "localhost:x",
            "localhost/",
            "localhost, evil.com",
            "%6cocalhost",
            "127.0.0.1.evil.com",
            "127.0.0.1.",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.01",
            "128.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::1",
            "[::1]x",
            "[::1].evil.com",
            "[::1%25lo]",
            "::1",
            "[::2]",
            "[v1.localhost]",
            "l\u{f6}calhost",
        ] {
            assert!(!hosts.contains(bad), "{bad}");
        }
    }

    #[test]
    fn a_listed_host_matches_any_port() {
        let hosts = Hosts::allow([
            "App.Example.com",
            "*.example.org",
            "192.0.2.1",
            "[2001:DB8::1]",
        ])
        .unwrap();
        for good in [
            "app.example.com",
            "APP.example.com:8443",
            "app.example.com.",
            "a.example.org",
            "a.b.example.org:1",
            "192.0.2.1:80",
            "[2001:db8:0::1]:80",
            "localhost",
        ] {
            assert!(hosts.contains(good), "{good}");
        }
        for bad in [
            "example.com",
            "b.app.example.com",
            "app.example.com.evil.com",
            "evilapp.example.com",
            "example.org",
            ".example.org",
            "evilexample.org",
            "192.0.2.2",
            "[2001:db8::2]",
        ] {
            assert!(!hosts.contains(bad), "{bad}");
        }
        assert!(Hosts::any().contains("evil.example"));
    }

    #[test]
    fn a_list_accepts_only_valid_hosts() {
        for bad in [
            "",
            "*",
            "*.",
            "**.a",
            "a.*",
            "a:80",
            "[::1]:80",
            "::1",
            "http://a",
            "a/b",
            "u@a",
            "a b",
            "a..b",
            ".a",
            "*.192.0.2.1",
            "[a]",
        ] {
            assert!(Hosts::allow([bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_list_applies_everywhere_and_the_default_on_loopback_addresses() {
        let tcp = |address: &str| BoundAddress::Tcp(address.parse().unwrap());
        let [loopback, other, unix] = [
            tcp("127.0.0.1:1"),
            tcp("0.0.0.0:1"),
            BoundAddress::Unix("/a".into()),
        ];
        let by_default = Hosts::default().and("a").unwrap();
        for address in [&loopback, &tcp("[::1]:1"), &tcp("127.8.0.1:1")] {
            assert!(by_default.clone().at(address).is_some(), "{address}");
        }
        for address in [&other, &unix, &tcp("[::]:1"), &tcp("192.0.2.1:1")] {
            assert!(by_default.clone().at(address).is_none(), "{address}");
        }
        for address in [&loopback, &other, &unix] {
            assert!(Hosts::allow(["a"]).unwrap().at(address).is_some());
            assert!(Hosts::any().at(address).is_none());
        }
    }

    #[test]
    fn a_targets_host_takes_precedence_and_a_missing_host_is_accepted() {
        let check = |uri: &str, host: Option<&str>| {
            let request = Request::builder().uri(uri);
            let request = match host {
                Some(host) => request.header("host", host),
                None => request,
            };
            let checked = Hosts::loopback().check(&request.body(()).unwrap());
            checked.map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(check("/", Some("localhost")), Ok(()));
        assert_eq!(check("/", None), Ok(()));
        assert_eq!(check("/", Some("evil.example:8000")), Err(421));
        assert_eq!(check("http://evil.example/", Some("localhost")), Err(421));
        assert_eq!(check("http://localhost/", Some("evil.example")), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_host_and_the_option() {
        let request = Request::get("/").header("host", "hub.example:8000");
        let checked = Hosts::default().check(&request.body(()).unwrap());
        let said = checked.unwrap_err().to_string();
        assert!(said.contains("--allow-host hub.example`"), "{said}");
    }
}
