//! A pattern `scheme://host[:port][/path]` for allowed URLs.

use std::net::IpAddr;

use reqwest::Url;

use super::{Host, path::PathGlob};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    scheme: &'static str,
    host: HostPattern,
    /// `None` matches any port.
    port: Option<u16>,
    /// `None` matches any path.
    path: Option<PathGlob>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    /// Any host but this machine.
    Any,
    /// A name in lower case and punycode, without a trailing dot.
    Name(String),
    /// A name in the same form, with a leading dot.
    Suffix(String),
    Address(IpAddr),
}

/// The result of comparing a URL with a pattern: the first part that doesn't match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    NotHost,
    NotScheme,
    NotPort,
    NotPath,
    /// The pattern is for any host, and the address is neither public nor listed.
    NotAddress,
    All,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("it is neither a URL nor a network")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => "http",
            "https" => "https",
            other => return Err(format!("only http and https are allowed, not `{other}`")),
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err("a user's name or password can't be part of it".to_owned());
        }
        let (host, port) = match authority.rsplit_once(':') {
            // A colon within an IPv6 address doesn't precede a port.
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None => Some(if scheme == "http" { 80 } else { 443 }),
            Some("*") => None,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => Some(port),
                _ => {
                    return Err(format!(
                        "`{port}` is neither a port from 1 to 65535 nor `*`"
                    ));
                }
            },
        };
        let path = match path {
            "" | "/" => None,
            path if path.starts_with('/') => Some(PathGlob::parse(path)?),
            _ => return Err("a query or a fragment can't be part of it".to_owned()),
        };
        Ok(Self {
            scheme,
            host: HostPattern::parse(host)?,
            port,
            path,
        })
    }

    /// A pattern for any host but this machine, at any port.
    pub(super) fn any(scheme: &'static str) -> Self {
        Self {
            scheme,
            host: HostPattern::Any,
            port: None,
            path: None,
        }
    }

    /// Compares a URL with the pattern. `is_reachable` returns `true` if an address may be reached
    /// that no pattern names.
    pub(super) fn compare(
        &self,
        url: &Url,
        host: &Host<'_>,
        is_reachable: impl Fn(IpAddr) -> bool,
    ) -> Match {
        let port = url.port_or_known_default();
        if !self.is_for(host) {
            Match::NotHost
        } else if self.scheme != url.scheme() {
            Match::NotScheme
        } else if self.port.is_some() && self.port != port {
            Match::NotPort
        } else if self
            .path
            .as_ref()
            .is_some_and(|path| !path.matches(url.path()))
        {
            Match::NotPath
        } else {
            match host {
                Host::Address(address) if !self.names(host) && !is_reachable(*address) => {
                    Match::NotAddress
                }
                _ => Match::All,
            }
        }
    }

    /// Returns `true` if the pattern applies to this host, at some port and path.
    pub(super) fn is_for(&self, host: &Host<'_>) -> bool {
        match (&self.host, host) {
            (HostPattern::Any, Host::Name(_)) => !host.is_this_machine(),
            (HostPattern::Any, Host::Address(_)) => true,
            (HostPattern::Name(wanted), Host::Name(name)) => wanted == name,
            (HostPattern::Suffix(suffix), Host::Name(name)) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| !rest.is_empty()),
            (HostPattern::Address(wanted), Host::Address(address)) => wanted == address,
            _ => false,
        }
    }

    /// Returns `true` if the pattern names the host, and doesn't match any host.
    pub(super) fn names(&self, host: &Host<'_>) -> bool {
        self.host != HostPattern::Any && self.is_for(host)
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (text, is_suffix) = match text.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None if text == "*" => return Ok(Self::Any),
            None => (text, false),
        };
        if text.contains('*') {
            return Err(format!(
                "`*` in `{text}` is not a whole beginning, as in `*.example.com`"
            ));
        }
        // Parsed in the same way as a URL's host, so that both have the same meaning.
        let url = Url::parse(&format!("http://{text}/"))
            .map_err(|error| format!("`{text}` is not a host ({error})"))?;
        match Host::of(&url) {
            Some(Host::Address(_)) if is_suffix => Err(format!("`{text}` is an address")),
            Some(Host::Address(address)) => Ok(Self::Address(address)),
            Some(Host::Name(name)) if is_suffix => Ok(Self::Suffix(format!(".{name}"))),
            Some(Host::Name(name)) => Ok(Self::Name(name.to_owned())),
            None => Err(format!("`{text}` is not a host")),
        }
    }
}
