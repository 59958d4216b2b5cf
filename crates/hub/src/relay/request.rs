//! Parsing of `POST /relay` (§4.1, §5): the upstream call, and the handling of its response.

use std::time::Duration;

use headwater::Problem;
use headwater_client::egress::retain_end_to_end;
use headwater_log::StreamName;
use http::{HeaderMap, HeaderName, Method, header};
use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{refusal::Refusal, signer::Signer};
use crate::{
    limits::{KEY_BYTES, SECONDS},
    protocol::{
        header_names, headers, path,
        query::{query, word},
    },
};

/// Headers about the client and the route, not about the request's meaning. They differ between
/// attempts, and don't distinguish requests.
const INCIDENTAL: [&str; 20] = [
    "baggage",
    "cache-control",
    "cf-connecting-ip",
    "cf-ray",
    "dnt",
    "forwarded",
    "idempotency-key",
    "origin",
    "pragma",
    "priority",
    "referer",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "user-agent",
    "via",
    "x-correlation-id",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
];

/// A requested upstream call.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The headers that are forwarded.
    pub(super) headers: HeaderMap,
    pub(super) join: Join,
    /// The public stream to fill.
    pub(super) stream: Option<StreamName>,
    /// Time after its last use for which the stream is kept.
    pub(super) ttl: Option<Duration>,
    /// Time that the job continues without watchers.
    pub(super) keep_for: Option<Duration>,
    /// `true` if a feed reconnects.
    pub(super) feed: bool,
}

/// The criterion by which a request joins an existing relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// None: each request is a call.
    Never,
    /// The same key.
    Key(String),
    /// An equal request.
    Request,
}

/// The criterion by which to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Join")]
pub(super) enum JoinBy {
    Request,
}

query! {
    /// The parameters of a request for a relay.
    pub(super) struct Query {
        /// The path of a public stream to fill. Default: a private stream that only the relay's URL
        /// reaches.
        stream: StreamName as String = |_, text| path::new_name_of(text),
        /// In place of `Idempotency-Key`, and not sent to the upstream.
        key: String as String = key_of,
        /// `request` joins the relay of the same request, if it exists: method, URL, headers and
        /// body.
        join: JoinBy as JoinBy = word::<JoinBy>,
        /// The number of seconds that the stream is kept after its last use.
        ttl: Duration as u64 = seconds,
        /// The call is aborted after this many seconds without a watcher. Default: it continues.
        keep_for: Duration as u64 = seconds,
        /// `false`: an SSE feed that breaks isn't reconnected.
        feed: bool as bool = |name, text: &str| text
            .parse::<bool>()
            .map_err(|_| Problem::bad_request(format!("{name} is true or false"))),
    }
}

impl Ask {
    /// Parses a request without its body. Checks it in the order of §11.
    ///
    /// # Errors
    /// A header or a parameter is missing or invalid.
    pub(super) fn read(headers: HeaderMap, query: &str) -> Result<Self, Refusal> {
        let url = headers::text(&headers, &header_names::UPSTREAM_URL)?;
        let url = url.ok_or_else(Refusal::missing_url)?;
        let method = headers::one(&headers, &header_names::UPSTREAM_METHOD)?;
        let method = method.ok_or_else(Refusal::missing_method)?;
        // Methods are case-sensitive (RFC 9110 §9.1).
        let method = match method.as_bytes() {
            b"GET" => Method::GET,
            b"POST" => Method::POST,
            b"PUT" => Method::PUT,
            b"PATCH" => Method::PATCH,
            b"DELETE" => Method::DELETE,
            _ => return Err(Refusal::bad_method()),
        };
        let mut url = Url::parse(url).map_err(Refusal::bad_url)?;
        url.set_fragment(None);
        let key = headers::text(&headers, &header_names::IDEMPOTENCY_KEY)?;
        let key = key.map(|text| key_of("", text)).transpose()?;
        let query = Query::parse(query)?;
        if key.is_some() && query.key.is_some() {
            let detail = "key and Idempotency-Key are both the key of a relay: give one of them";
            return Err(Problem::bad_request(detail).into());
        }
        let join = match (query.key.or(key), query.join) {
            // A key is more specific.
            (Some(key), _) => Join::Key(key),
            (None, Some(JoinBy::Request)) => Join::Request,
            (None, None) => Join::Never,
        };
        Ok(Self {
            method,
            url,
            headers: forwarded(headers),
            join,
            stream: query.stream,
            ttl: query.ttl.filter(|ttl| !ttl.is_zero()),
            keep_for: query.keep_for,
            feed: query.feed.unwrap_or(true),
        })
    }

    /// Returns a value that identifies this request.
    pub(super) fn fingerprint(&self, signer: &Signer, body: &[u8]) -> String {
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| !is_incidental(name))
            .collect();
        // The sort is stable: values of one name keep their order.
        headers.sort_by_key(|(name, _)| name.as_str());
        let mut parts = vec![
            self.method.as_str().as_bytes(),
            self.url.as_str().as_bytes(),
            body,
        ];
        for (name, value) in headers {
            parts.extend([name.as_str().as_bytes(), value.as_bytes()]);
        }
        signer.fingerprint(&parts)
    }
}

/// Returns `true` if a header doesn't distinguish requests.
pub(super) fn is_incidental(name: &HeaderName) -> bool {
    let name = name.as_str();
    INCIDENTAL.contains(&name) || name.starts_with("sec-") || name.starts_with("x-forwarded-")
}

/// Returns `true` for headers about the hub, the page that calls it or the proxies in front of it.
/// They are only forwarded from `Upstream-…`, as `Authorization` is.
fn is_about_the_hub(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_listed = matches!(
        name,
        "authorization"
            | "cookie"
            | "origin"
            | "referer"
            | "forwarded"
            | "via"
            | "x-real-ip"
            | "true-client-ip"
            | "cf-connecting-ip"
    );
    is_listed || name.starts_with("x-forwarded-") || name.starts_with("sec-")
}

/// Returns the header that an `Upstream-…` header sets, if it is one [about the
/// hub](is_about_the_hub).
fn stands_for(name: &HeaderName) -> Option<HeaderName> {
    let name = name.as_str().strip_prefix("upstream-")?;
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    is_about_the_hub(&name).then_some(name)
}

/// Returns the headers that are forwarded to the upstream (§5.1, §5.2).
fn forwarded(mut headers: HeaderMap) -> HeaderMap {
    retain_end_to_end(&mut headers);
    // It is for this hub, which has answered it.
    headers.remove(header::EXPECT);
    // The response is stored decoded.
    headers.remove(header::ACCEPT_ENCODING);
    let mut all = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    for (name, mut value) in headers {
        // Further values of a name come without it.
        current = name.or(current);
        let Some(name) = &current else { continue };
        if let Some(meant) = stands_for(name) {
            if meant == header::AUTHORIZATION || meant == header::COOKIE {
                value.set_sensitive(true);
            }
            all.append(meant, value);
        } else if !is_about_the_hub(name) && !name.as_str().starts_with("upstream-") {
            all.append(name, value);
        }
    }
    all
}

fn key_of(_: &str, key: &str) -> Result<String, Problem> {
    if key.is_empty() || key.len() > KEY_BYTES {
        let detail = format!("an idempotency key has 1 to {KEY_BYTES} bytes");
        return Err(Problem::bad_request(detail));
    }
    Ok(key.to_owned())
}

fn seconds(name: &str, value: &str) -> Result<Duration, Problem> {
    match value.parse::<u64>() {
        Ok(seconds) if seconds <= SECONDS => Ok(Duration::from_secs(seconds)),
        _ => Err(Problem::bad_request(format!(
            "{name} is a number of whole seconds"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use ring::hmac;

    use super::*;

    fn headers(more: &[(&str, &str)]) -> HeaderMap {
        let base = [
            ("upstream-url", "https://a.example/x?y=1#z"),
            ("upstream-method", "POST"),
        ];
        let all = base.iter().chain(more);
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_headers_for_the_upstream_are_forwarded() {
        let ask = Ask::read(
            headers(&[
                ("authorization", "Bearer the-hub's"),
                ("upstream-authorization", "Bearer the-upstream's"),
                ("upstream-other", "reserved"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "1"),
                ("proxy-authenticate", "1"),
                ("proxy-authorization", "1"),
                ("te", "trailers"),
                ("trailers", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("expect", "100-continue"),
                ("accept-encoding", "gzip"),
                ("host", "hub.example"),
                ("content-type", "application/json"),
                ("idempotency-key", "k"),
                ("x-api-key", "secret"),
                ("cookie", "hub=1"),
                ("origin", "https://page.example"),
                ("referer", "https://page.example/x"),
                ("forwarded", "for=192.0.2.1"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-proto", "https"),
                ("x-real-ip", "192.0.2.1"),
                ("via", "1.1 proxy"),
                ("sec-fetch-site", "cross-site"),
                ("x-two", "1"),
                ("x-two", "2"),
                ("upstream-cookie", "a=1"),
                ("upstream-cookie", "b=2"),
                ("upstream-origin", "https://app.example"),
            ]),
            "",
        )
        .unwrap();
        let mut sent: Vec<_> = ask.headers.keys().map(HeaderName::as_str).collect();
        sent.sort_unstable();
        assert_eq!(
            sent,
            [
                "authorization",
                "content-type",
                "cookie",
                "idempotency-key",
                "origin",
                "x-api-key",
                "x-two"
            ]
        );
        assert_eq!(ask.headers["authorization"], "Bearer the-upstream's");
        assert_eq!(ask.headers["origin"], "https://app.example");
        let all = |name: &str| {
            ask.headers
                .get_all(name)
                .iter()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(all("cookie"), ["a=1", "b=2"]);
        assert_eq!(all("x-two"), ["1", "2"]);
        assert_eq!(ask.url.as_str(), "https://a.example/x?y=1");
        assert_eq!(ask.join, Join::Key("k".to_owned()));
    }

    #[test]
    fn a_fingerprint_ignores_incidental_headers_and_covers_credentials() {
        let signer = Signer::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
        let print = |more: &[(&str, &str)], body: &str| {
            Ask::read(headers(more), "")
                .unwrap()
                .fingerprint(&signer, body.as_bytes())
        };
        let base = print(&[("accept", "a"), ("x-one", "1")], "body");
        let same = [
            ("x-one", "1"),
            ("accept", "a"),
            ("user-agent", "other"),
            ("sec-fetch-mode", "x"),
            ("traceparent", "y"),
        ];
        assert_eq!(print(&same, "body"), base);
        assert_ne!(print(&[("accept", "a"), ("x-one", "1")], "bodx"), base);
        assert_ne!(print(&[("accept", "a"), ("x-one", "2")], "body"), base);
        let other = [
            ("accept", "a"),
            ("x-one", "1"),
            ("upstream-authorization", "Bearer b"),
        ];
        assert_ne!(print(&other, "body"), base);
    }

    #[test]
    fn a_url_or_a_key_that_is_given_twice_is_refused() {
        let refused = |more: &[(&str, &str)], query| {
            let refusal = Ask::read(headers(more), query).unwrap_err();
            refusal.into_problem().to_string()
        };
        for (more, query, why) in [
            (
                ("upstream-url", "https://b.example"),
                "",
                "Upstream-URL is given twice",
            ),
            (
                ("upstream-method", "GET"),
                "",
                "Upstream-Method is given twice",
            ),
            (("x", "y"), "key=a&key=b", "key is given twice"),
            (
                ("idempotency-key", "a"),
                "key=b",
                "key and Idempotency-Key are both the key",
            ),
        ] {
            let told = refused(&[more], query);
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_malformed_url_is_refused_with_the_reason() {
        for (url, why) in [
            ("foo", "relative URL without a base"),
            ("//a.example/x", "relative URL without a base"),
            ("https://", "empty host"),
            ("https://a.example:x/", "invalid port number"),
        ] {
            let mut headers = headers(&[]);
            headers.insert(header_names::UPSTREAM_URL, url.parse().unwrap());
            let refusal = Ask::read(headers, "").unwrap_err();
            assert_eq!(refusal.code(), "INVALID_UPSTREAM_URL", "{url}");
            let problem = refusal.into_problem();
            assert_eq!(problem.status(), 400, "{url}");
            assert!(problem.to_string().contains(why), "{problem}");
        }
    }

    #[test]
    fn an_invalid_parameter_is_refused() {
        let read = |query: &str| Ask::read(headers(&[]), query);
        let ask = read("stream=a/b&ttl=60&keep_for=0&feed=false&join=request&x=y").unwrap();
        assert_eq!(ask.stream.unwrap().as_str(), "a/b");
        assert_eq!(
            (ask.ttl, ask.keep_for),
            (Some(Duration::from_secs(60)), Some(Duration::ZERO))
        );
        assert!(!ask.feed);
        assert_eq!(ask.join, Join::Request);
        for bad in [
            "stream=",
            "stream=__ds/x",
            "key=",
            "join=x",
            "ttl=1h",
            "ttl=-1",
            "keep_for=1.5",
            "feed=no",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("key={}", "k".repeat(KEY_BYTES))).is_ok());
        assert!(read(&format!("key={}", "k".repeat(KEY_BYTES + 1))).is_err());
    }
}
