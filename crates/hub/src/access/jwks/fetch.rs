//! One fetch of a JWK Set.

use std::{fmt, sync::OnceLock, time::Duration};

use headwater_auth::{Jwks, limits::JWKS_BYTES};
use headwater_client::{Egress, Url, internals};
use headwater_wire::json::without_bom;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use reqwest::{Client, Response};

use crate::limits::JWKS_REDIRECTS;

/// Timeout of connecting to the issuer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The networks in which the issuer's host may be besides public addresses. The operator has named
/// the host, so it may be one of the own network. Link-local addresses, as of cloud metadata, aren't.
const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
];

const ACCEPT: &str = "application/jwk-set+json, application/json;q=0.9, */*;q=0.1";

/// The reason for which keys can't be fetched from a URL.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct JwksUrlError(String);

impl JwksUrlError {
    pub(in crate::access) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The URL of a JWK Set.
pub(in crate::access) struct Source {
    url: Url,
    egress: Egress,
    /// Certificates in PEM that are trusted besides those of the system.
    #[cfg(feature = "tls")]
    roots: Option<Vec<u8>>,
    /// Created at the first fetch, as it loads the system's certificates.
    client: OnceLock<Client>,
    /// The last set, with its `ETag`.
    previous: Mutex<Option<(HeaderValue, Jwks)>>,
}

impl Source {
    /// Parses a URL: https, or http at a loopback address.
    pub(in crate::access) fn new(url: &str) -> Result<Self, JwksUrlError> {
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        let failed = |reason: String| JwksUrlError(format!("{shown}: {reason}"));
        let url = url.parse::<Url>();
        let url = url.map_err(|error| failed(error.to_string()))?;
        let is_loopback = |host: &str| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let address = bare.parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        match (url.scheme(), url.host_str()) {
            ("https", Some(_)) if !cfg!(feature = "tls") => {
                return Err(failed("this build has no https (feature `tls`)".to_owned()));
            }
            ("https", Some(_)) => {}
            ("http", Some(host)) if is_loopback(host) => {}
            _ => {
                let reason = "the URL of a JWK Set is https, or http at a loopback address: keys that anyone on the way \
                              can replace prove nothing";
                return Err(failed(reason.to_owned()));
            }
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let origin = format!("{}://{host}:{port}", url.scheme());
        let egress = Egress::allow([&*origin].into_iter().chain(PRIVATE));
        let egress = egress.map_err(|error| failed(error.to_string()))?;
        // A rule that names an address allows it, whatever it is.
        let nameless = Egress::allow(["http://*:*", "https://*:*"].into_iter().chain(PRIVATE));
        let nameless = nameless.map_err(|error| failed(error.to_string()))?;
        for rules in [&egress, &nameless.with_this_machine()] {
            let checked = rules.check(&url);
            checked.map_err(|error| failed(error.to_string()))?;
        }
        Ok(Self {
            url,
            egress,
            #[cfg(feature = "tls")]
            roots: None,
            client: OnceLock::new(),
            previous: Mutex::default(),
        })
    }

    /// Returns the source of the same URL, with certificates that are trusted besides those of the system.
    #[cfg(feature = "tls")]
    pub(in crate::access) fn trusting(&self, roots: &[u8]) -> Result<Self, JwksUrlError> {
        if self.url.scheme() != "https" {
            return Err(JwksUrlError(format!(
                "{self}: only https has a certificate to check, and this URL is http"
            )));
        }
        let source = Self {
            url: self.url.clone(),
            egress: self.egress.clone(),
            roots: Some(roots.to_vec()),
            client: OnceLock::new(),
            previous: Mutex::default(),
        };
        // A mistake in them is reported now, not by each fetch.
        source.client().map_err(JwksUrlError)?;
        Ok(source)
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let http = self.http().map_err(|error| with_causes(&error))?;
        // `guard` lets it follow no redirects: they are checked here.
        let client = self
            .egress
            .guard(http)
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|error| with_causes(&error.without_url()))?;
        Ok(self.client.get_or_init(|| client))
    }

    fn http(&self) -> Result<reqwest::ClientBuilder, headwater_client::Error> {
        #[cfg(feature = "tls")]
        if let Some(roots) = &self.roots {
            return internals::http_trusting(roots);
        }
        internals::http()
    }

    /// Fetches the set. Returns it with the time for which it is fresh, if the response tells.
    ///
    /// # Errors
    /// The reason, without a query or a body.
    pub(super) async fn fetch(&self) -> Result<(Jwks, Option<Duration>), String> {
        let previous = self.previous.lock().clone();
        let etag = previous.as_ref().map(|(etag, _)| etag);
        let mut response = self.send(etag).await?;
        let fresh = freshness(response.headers());
        let jwks = match (response.status(), previous) {
            (StatusCode::NOT_MODIFIED, Some((_, jwks))) => return Ok((jwks, fresh)),
            (StatusCode::OK, _) => Jwks::parse(without_bom(&body(&mut response).await?)),
            (status, _) => return Err(format!("the response has the status {status}")),
        };
        let jwks = jwks.map_err(|error| error.to_string())?;
        let etag = response.headers().get(header::ETAG).cloned();
        *self.previous.lock() = etag.map(|etag| (etag, jwks.clone()));
        Ok((jwks, fresh))
    }

    /// Sends the request, and follows redirects within the origin of the URL.
    async fn send(&self, etag: Option<&HeaderValue>) -> Result<Response, String> {
        let client = self.client()?;
        let mut url = self.url.clone();
        for _ in 0..=JWKS_REDIRECTS {
            let mut request = client.get(url.clone()).header(header::ACCEPT, ACCEPT);
            if let Some(etag) = etag {
                request = request.header(header::IF_NONE_MATCH, etag);
            }
            let response = request.send().await.map_err(reason)?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = response.headers().get(header::LOCATION);
            let Some(location) = location.filter(|_| is_redirect) else {
                return Ok(response);
            };
            let location = location.to_str().ok();
            let next = location.and_then(|location| url.join(location).ok());
            url = next.ok_or("the response redirects to something that is no URL")?;
            self.egress
                .check(&url)
                .map_err(|error| format!("a redirect isn't followed: {error}"))?;
        }
        Err(format!("there are more than {JWKS_REDIRECTS} redirects"))
    }
}

/// Returns an error with its causes, without the URL.
fn reason(error: reqwest::Error) -> String {
    with_causes(&error.without_url())
}

fn with_causes(first: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(first), |error| error.source());
    let texts: Vec<_> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

/// Reads a body of at most [`JWKS_BYTES`].
async fn body(response: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reason)? {
        if body.len() + chunk.len() > JWKS_BYTES {
            return Err(format!("the response has more than {JWKS_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns the time for which a response is still fresh (RFC 9111 §4.2.1), for a cache of its own.
fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut max_age = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse::<u64>();
                // RFC 9111 §4.2.1: invalid freshness information is taken for stale.
                let seconds = seconds.unwrap_or_default();
                max_age = Some(Duration::from_secs(seconds));
            }
            _ => {}
        }
    }
    let age = headers.get(header::AGE);
    let age = age.and_then(|age| age.to_str().ok()?.trim().parse::<u64>().ok());
    let age = Duration::from_secs(age.unwrap_or_default());
    max_age.map(|max_age| max_age.saturating_sub(age))
}

impl fmt::Display for Source {
    /// Writes the URL without its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, .. } = self;
        let origin = url.origin().ascii_serialization();
        write!(f, "{origin}{}", url.path())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_https_or_at_a_loopback_address() {
        for url in [
            #[cfg(feature = "tls")]
            "https://id.example.com/jwks.json?tenant=a",
            #[cfg(feature = "tls")]
            "https://10.0.0.7:8443/keys",
            #[cfg(feature = "tls")]
            "https://[fd00::7]/keys",
            #[cfg(feature = "tls")]
            "https://127.0.0.1/keys",
            #[cfg(feature = "tls")]
            "https://8.8.8.8/keys",
            "http://localhost:8080/keys",
            "http://127.0.0.1:8080/keys",
            "http://[::1]:8080/keys",
        ] {
            assert!(Source::new(url).is_ok(), "{url}: {:?}", Source::new(url));
        }
        for url in [
            "https://169.254.169.254/latest/keys",
            "https://[fe80::1]/keys",
            "https://[::ffff:169.254.169.254]/keys",
            "https://2852039166/keys",
            "https://0.0.0.0/keys",
            "http://id.example.com/jwks.json?secret",
            "http://10.0.0.7/keys",
            "https://user:pass@id.example.com/",
            "ftp://id.example.com/",
            "keys.json",
            "",
        ] {
            let error = Source::new(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_response_is_fresh_for_its_max_age_less_its_age() {
        let fresh = |control: &str, age: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, control.parse().unwrap());
            if let Some(age) = age {
                headers.insert(header::AGE, age.parse().unwrap());
            }
            freshness(&headers).map(|fresh| fresh.as_secs())
        };
        assert_eq!(fresh("public, Max-Age=300", None), Some(300));
        assert_eq!(fresh("max-age=\"300\"", Some("100")), Some(200));
        assert_eq!(fresh("max-age=300", Some("301")), Some(0));
        assert_eq!(fresh("max-age=300, no-cache", None), Some(0));
        assert_eq!(fresh("max-age=soon", None), Some(0));
        assert_eq!(fresh("public", Some("5")), None);
        assert_eq!(freshness(&HeaderMap::new()), None);
    }

    #[test]
    fn nothing_printed_has_the_query() {
        let source = Source::new("http://localhost:80/keys?secret=1").unwrap();
        assert_eq!(source.to_string(), "http://localhost/keys");
        assert_eq!(format!("{source:?}"), "http://localhost/keys");
    }
}
