//! The syntax of `Forwarded` (RFC 7239) and of the `X-Forwarded-` headers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, uri::Scheme};

use crate::request::is_authority;

/// Returns the last elements of a list, the last one first, at most `most`. Several lines of the
/// header are one list (RFC 9110 §5.3). Empty elements don't count (§5.6.1.2), and a line that isn't
/// ASCII ends the list.
///
/// Elements are split from the end. A client's part is at the start, so what it writes there,
/// such as a quote that stays open, doesn't change how later elements are read.
pub(super) fn last_elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    most: usize,
) -> Vec<&'a str> {
    let mut elements = Vec::new();
    for line in headers.get_all(name).iter().rev() {
        let Ok(mut line) = line.to_str() else { break };
        loop {
            let (rest, element) = split_last(line);
            let element = element.trim_matches([' ', '\t']);
            if !element.is_empty() {
                if elements.len() == most {
                    return elements;
                }
                elements.push(element);
            }
            match rest {
                Some(rest) => line = rest,
                None => break,
            }
        }
    }
    elements
}

/// Splits off the element after the last comma that isn't within a quoted string. In a quoted
/// string, a quote is escaped by a backslash.
fn split_last(line: &str) -> (Option<&str>, &str) {
    let bytes = line.as_bytes();
    let mut is_quoted = false;
    for (at, byte) in bytes.iter().enumerate().rev() {
        match byte {
            b'"' if is_escaped(&bytes[..at]) && is_quoted => {}
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return (Some(&line[..at]), &line[at + 1..]),
            _ => {}
        }
    }
    (None, line)
}

/// Returns `true` if what follows these bytes is escaped by their last one.
fn is_escaped(before: &[u8]) -> bool {
    let slashes = before.iter().rev().take_while(|byte| **byte == b'\\');
    slashes.count() % 2 == 1
}

/// An element of `Forwarded`: what one proxy reports of the peer that sent it the request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    /// `None` if it is missing, `unknown`, or a name that hides it.
    pub(super) client: Option<SocketAddr>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<String>,
}

impl Hop {
    /// Parses an element. Returns `None` if it is malformed.
    pub(super) fn parse(element: &str) -> Option<Self> {
        let mut hop = Self::default();
        let mut seen = [false; 3];
        let mut rest = Some(element);
        while let Some(text) = rest {
            let (pair, more) = split_pair(text)?;
            rest = more;
            let pair = pair.trim_matches([' ', '\t']);
            if pair.is_empty() {
                continue;
            }
            let (name, value) = pair.split_once('=')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let value = unquoted(value)?;
            let known = ["for", "proto", "host"];
            let Some(at) = known
                .iter()
                .position(|known| name.eq_ignore_ascii_case(known))
            else {
                continue;
            };
            // "Each parameter MUST NOT occur more than once" (§4).
            if std::mem::replace(&mut seen[at], true) {
                return None;
            }
            match at {
                0 => hop.client = address(&value),
                1 => hop.scheme = scheme(&value),
                _ => hop.host = host(&value),
            }
        }
        Some(hop)
    }
}

/// Splits off a pair at the first semicolon that isn't within a quoted string. Returns `None` if a
/// string stays open.
fn split_pair(text: &str) -> Option<(&str, Option<&str>)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b';' if !is_quoted => return Some((&text[..at], Some(&text[at + 1..]))),
            _ => {}
        }
    }
    (!is_quoted).then_some((text, None))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns the value of a token or a quoted string.
fn unquoted(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        // Proxies write addresses and hosts with a port unquoted, which the grammar doesn't allow.
        let is_value = |byte| is_token(byte) || b":[]".contains(&byte);
        return (!value.is_empty() && value.bytes().all(is_value)).then(|| value.to_owned());
    };
    let quoted = quoted.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?),
            '"' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

/// Parses an address with an optional port: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`,
/// `2001:db8::1`. The port is 0 if it is missing, or hidden (RFC 7239 §6.3).
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let of = |address: IpAddr, port| Some(SocketAddr::new(address.to_canonical(), port));
    if let Ok(address) = text.parse::<IpAddr>() {
        return of(address, 0);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address = address.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => of(address.into(), 0),
            rest => of(address.into(), port(rest.strip_prefix(':')?)?),
        };
    }
    let (address, rest) = text.split_once(':')?;
    of(IpAddr::V4(address.parse().ok()?), port(rest)?)
}

fn port(text: &str) -> Option<u16> {
    match text.strip_prefix('_') {
        Some(hidden) => hidden
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            .then_some(0),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

pub(super) fn scheme(text: &str) -> Option<Scheme> {
    let schemes = [Scheme::HTTP, Scheme::HTTPS];
    let mut schemes = schemes.into_iter();
    schemes.find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
}

pub(super) fn host(text: &str) -> Option<String> {
    is_authority(text).then(|| text.to_owned())
}
