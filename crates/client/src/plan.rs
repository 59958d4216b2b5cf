use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use headwater_wire::{Backoff, Format, Limits, Str};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::{
    egress::Egress,
    error::Error,
    retry_wait::OnWait,
    session::{Policy, Reading},
    token::Token,
};

/// The default limit of a body that is read as a whole: 16 MiB.
pub const DEFAULT_MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// The default idle timeout: 60 s.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The default number of consecutive failed attempts to connect: 10.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 10;

/// SSE is preferred, because it can be resumed and marks its end.
const ACCEPT_ITEMS: &str = "text/event-stream, application/x-ndjson;q=0.9, \
    application/jsonl;q=0.9, application/json-seq;q=0.8, application/json;q=0.7, \
    text/plain;q=0.5, */*;q=0.1";

/// The settings that are common to a client's requests.
#[derive(Clone)]
pub struct Settings {
    pub(crate) headers: HeaderMap,
    /// The source of bearer tokens. Its token replaces an `Authorization` of `headers`.
    pub(crate) token: Option<Token>,
    pub(crate) limits: Limits,
    pub(crate) max_body_bytes: usize,
    /// Maximum time without a byte. Zero disables it.
    pub idle_timeout: Duration,
    /// Maximum time until a response's head, if it isn't the idle timeout.
    pub head_timeout: Option<Duration>,
    /// If `true`, a broken SSE stream is resumed.
    pub reconnect: bool,
    pub(crate) retry_first_connect: bool,
    /// Maximum number of failed attempts to connect in a row.
    pub max_attempts: u32,
    /// The waits between attempts.
    pub backoff: Backoff,
    /// The callback for waits.
    pub(crate) on_wait: Option<OnWait>,
    /// The egress rules. `None` allows any address.
    pub(crate) egress: Option<Egress>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            headers: HeaderMap::new(),
            token: None,
            limits: Limits::default(),
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            head_timeout: None,
            reconnect: true,
            retry_first_connect: false,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            backoff: Backoff::DEFAULT,
            on_wait: None,
            egress: None,
        }
    }
}

impl Settings {
    /// Returns the wait after `failures` failed attempts in a row, the last for `reason`, and
    /// reports it to `on_wait`.
    pub(crate) fn pause(
        &self,
        failures: u32,
        retry_after: Option<Duration>,
        reason: &dyn fmt::Display,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        let earlier = failures.saturating_sub(1);
        let delay = self.backoff.delay(None, retry_after, earlier, rng);
        if let Some(on_wait) = &self.on_wait {
            on_wait.tell(delay, &reason.to_string());
        }
        delay
    }

    /// Reports to `on_wait` that the request is sent again at once, with another token than the
    /// refused one.
    pub(crate) fn tell_renewal(&self, refusal: &Error) {
        if let Some(on_wait) = &self.on_wait {
            on_wait.tell(Duration::ZERO, &renewal_reason(refusal));
        }
    }
}

/// The reason of an attempt with another token.
pub(crate) fn renewal_reason(refusal: &Error) -> String {
    format!("{refusal}; continuing with another token")
}

/// One request, which may be sent repeatedly.
pub struct Plan {
    pub(crate) method: Method,
    /// `None` if the given text isn't a URL; `error` is then set.
    url: Option<Url>,
    /// The headers, without those of the settings.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Bytes>,
    pub(crate) format: Option<Format>,
    pub(crate) replay: bool,
    /// The id to resume after.
    pub last_event_id: Str,
    /// If `false`, a redirect is a response like any other.
    pub follow_redirects: bool,
    pub(crate) settings: Settings,
    /// The first error.
    error: Option<Error>,
}

impl Plan {
    pub(crate) fn new(method: Method, url: &str, settings: Settings) -> Self {
        match parse_url(url) {
            Ok(url) => Self::for_url(method, url, settings),
            Err(error) => Self::of(method, None, settings, Some(error)),
        }
    }

    /// Creates a plan for a URL that is already parsed.
    pub fn for_url(method: Method, url: Url, settings: Settings) -> Self {
        let error = check_method(&method).err();
        Self::of(method, Some(url), settings, error)
    }

    fn of(method: Method, url: Option<Url>, settings: Settings, error: Option<Error>) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            format: None,
            replay: false,
            last_event_id: Str::default(),
            follow_redirects: true,
            settings,
            error,
        }
    }

    /// Returns `true` if `other` is the requested URL. Fragments aren't compared, because they
    /// aren't sent.
    pub(crate) fn is_for(&self, other: &Url) -> bool {
        self.url
            .as_ref()
            .is_some_and(|url| without_fragment(url) == without_fragment(other))
    }

    /// Returns `true` if `other` has the origin of the requested URL. Redirects to another origin
    /// don't keep the token.
    pub(crate) fn is_at_origin_of(&self, other: &Url) -> bool {
        self.url
            .as_ref()
            .is_some_and(|url| url.origin() == other.origin())
    }

    /// The source of the request's token. `None` if there is none, or if the request has an
    /// `Authorization` of its own.
    pub(crate) fn token(&self) -> Option<&Token> {
        let is_own = self.headers.contains_key(header::AUTHORIZATION);
        self.settings.token.as_ref().filter(|_| !is_own)
    }

    /// Sets the source of tokens, in place of an `Authorization` that was set before.
    pub(crate) fn set_token(&mut self, token: Token) {
        self.headers.remove(header::AUTHORIZATION);
        self.settings.token = Some(token);
    }

    /// Returns `true` if the caller has named the content codings that it accepts.
    pub(crate) fn asks_for_encoding(&self) -> bool {
        [&self.headers, &self.settings.headers]
            .iter()
            .any(|headers| headers.contains_key(header::ACCEPT_ENCODING))
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy {
            reconnect: self.settings.reconnect,
            replayable: self.method.is_safe() || self.replay,
            retry_first_connect: self.settings.retry_first_connect,
            max_attempts: self.settings.max_attempts,
            backoff: self.settings.backoff.clone(),
        }
    }

    pub(crate) fn items(&self) -> Reading {
        Reading::Items {
            format: self.format,
            limits: self.settings.limits,
        }
    }

    /// The method and the URL without the parts that may be secret.
    pub(crate) fn place(&self) -> String {
        match &self.url {
            Some(url) => place(&self.method, url),
            None => self.method.to_string(),
        }
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// Returns the plan, or its first error.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        match self.error.take() {
            Some(error) => Err(error.at(&self.place())),
            None => Ok(self),
        }
    }

    pub(crate) fn query(&mut self, name: &str, value: &str) {
        if let Some(url) = &mut self.url {
            url.query_pairs_mut().append_pair(name, value);
        }
    }

    pub(crate) fn header(&mut self, name: &str, value: &str) {
        match parse_header(name, value) {
            Ok((name, value)) => {
                self.headers.append(name, value);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Sets a header unless the caller or the client's settings already set it.
    pub(crate) fn default_header(&mut self, name: HeaderName, value: &'static str) {
        if !self.settings.headers.contains_key(&name) && !self.headers.contains_key(&name) {
            self.headers.insert(name, HeaderValue::from_static(value));
        }
    }

    /// Sets the default headers for reading items.
    pub(crate) fn accept_items(&mut self) {
        let accept = match self.format {
            None => ACCEPT_ITEMS,
            Some(Format::Ndjson) => "application/x-ndjson, application/jsonl, */*;q=0.1",
            Some(Format::Sse) => "text/event-stream, */*;q=0.1",
            Some(Format::JsonSeq) => "application/json-seq, */*;q=0.1",
            Some(Format::JsonArray) => "application/json, */*;q=0.1",
            Some(_) => "text/plain, */*;q=0.1",
        };
        self.default_header(header::ACCEPT, accept);
        self.default_header(header::CACHE_CONTROL, "no-cache");
        if matches!(self.format, None | Some(Format::Ndjson)) {
            // Blank lines, which the decoder skips, keep a silent body alive in proxies (RFC 7240).
            self.default_header(HeaderName::from_static("prefer"), "heartbeat=15");
        }
    }

    /// Builds the request to send. All requests of a client are built here, so its URL is checked
    /// against the egress rules here.
    pub(crate) fn request(&self, last_event_id: &str) -> Result<reqwest::Request, Error> {
        let url = self
            .url
            .clone()
            .ok_or_else(|| Error::request("there is no URL"))?;
        if let Some(egress) = &self.settings.egress {
            egress.check(&url).map_err(Error::refused)?;
        }
        let credentials = credentials(&url);
        let mut request = reqwest::Request::new(self.method.clone(), url);
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        with_defaults(headers, &self.settings.headers);
        if let Some(credentials) = credentials {
            headers.entry(header::AUTHORIZATION).or_insert(credentials);
        }
        if !last_event_id.is_empty() {
            let value = HeaderValue::from_bytes(last_event_id.as_bytes()).map_err(|_| {
                Error::request(
                    "the last event id holds a control character, which no header can carry: \
                     the stream can't be resumed",
                )
            })?;
            headers.insert("last-event-id", value);
        }
        *request.body_mut() = self.body.clone().map(Into::into);
        Ok(request)
    }
}

/// Refuses the methods that don't request the URL's resource: `CONNECT` requests a tunnel to its
/// host, regardless of its path (RFC 9110 §9.3.6), and `TRACE` has the request, including
/// credentials, sent back (§9.3.8).
fn check_method(method: &Method) -> Result<(), Error> {
    match *method {
        Method::CONNECT | Method::TRACE => {
            Err(Error::request(format!("the method {method} can't be used")))
        }
        _ => Ok(()),
    }
}

/// The user and the password of a URL as `Authorization: Basic` (RFC 7617 §2).
fn credentials(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The method and the URL without the parts that may be secret.
pub(crate) fn place(method: &Method, url: &Url) -> String {
    let mut url = url.clone();
    // Neither call can fail, because only `http` and `https` URLs get here.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    format!("{method} {url}")
}

/// Adds each default header whose name isn't present.
pub(crate) fn with_defaults(headers: &mut HeaderMap, defaults: &HeaderMap) {
    let missing: Vec<_> = defaults
        .keys()
        .filter(|name| !headers.contains_key(*name))
        .collect();
    for name in missing {
        for value in defaults.get_all(name) {
            headers.append(name, value.clone());
        }
    }
}

/// The part of a URL that is sent, and by which URLs are compared.
pub(crate) fn without_fragment(url: &Url) -> &str {
    let text = url.as_str();
    text.split_once('#').map_or(text, |(sent, _)| sent)
}

/// The error of a text that isn't a URL.
type ParseError = <Url as std::str::FromStr>::Err;

pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    // The text isn't shown: a text that can't be parsed can't be redacted.
    let url = Url::parse(text).map_err(|error| {
        let failed = Error::request("not a URL; it should be like http://host/path");
        match error {
            // The message has said it.
            ParseError::RelativeUrlWithoutBase => failed,
            error => failed.with_source(error),
        }
    })?;
    match url.scheme() {
        "http" => Ok(url),
        "https" if cfg!(feature = "tls") => Ok(url),
        "https" => Err(Error::request(
            "https needs the feature `tls` of headwater-client",
        )),
        other => Err(Error::request(format!(
            "the URL's scheme is `{other}`, but only http and https are known"
        ))),
    }
}

pub(crate) fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Error::request("a header's name may hold only letters, digits and !#$%&'*+-.^_`|~")
    })?;
    let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        Error::request(format!(
            "the value of the header `{parsed}` holds a control character"
        ))
    })?;
    value.set_sensitive(matches!(parsed, header::AUTHORIZATION | header::COOKIE));
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_and_trace_are_refused() {
        let checked = |method: Method| {
            Plan::new(method, "http://example.com/", Settings::default()).checked()
        };
        for method in [Method::CONNECT, Method::TRACE] {
            let error = checked(method.clone()).err().expect("it is refused");
            assert!(error.to_string().contains(method.as_str()), "{error}");
        }
        let own = Method::from_bytes(b"PURGE").unwrap();
        for method in [Method::GET, Method::DELETE, Method::OPTIONS, own] {
            assert!(checked(method).is_ok());
        }
    }

    fn plan(url: &str) -> Plan {
        Plan::new(Method::GET, url, Settings::default())
    }

    #[test]
    fn an_error_shows_neither_user_nor_password_nor_query() {
        let place = plan("http://me:secret@example.com:81/a/b?token=secret#secret").place();
        assert_eq!(place, "GET http://example.com:81/a/b");
    }

    #[test]
    fn an_invalid_request_fails_before_anything_is_sent() {
        for (url, message) in [
            (
                "example.com/?token=secret",
                "GET: not a URL; it should be like http://host/path",
            ),
            (
                "http://example.com:70000/?token=secret",
                "GET: not a URL; it should be like http://host/path: invalid port number",
            ),
            (
                "ftp://example.com/?token=secret",
                "GET: the URL's scheme is `ftp`, but only http and https are known",
            ),
        ] {
            let error = plan(url).checked().err().unwrap();
            assert!(error.is_request());
            assert_eq!(error.to_string(), message);
        }
        let mut plan = plan("http://example.com/");
        plan.header("x-token", "secret\n");
        let error = plan.checked().err().unwrap().to_string();
        let wanted = "the value of the header `x-token` holds a control character";
        assert_eq!(error, format!("GET http://example.com/: {wanted}"));
    }

    #[test]
    fn a_requests_header_replaces_the_clients() {
        let mut settings = Settings::default();
        settings
            .headers
            .insert("x-a", HeaderValue::from_static("client"));
        settings
            .headers
            .insert("x-b", HeaderValue::from_static("client"));
        let mut plan = Plan::new(Method::GET, "http://example.com/", settings);
        plan.header("x-a", "1");
        plan.header("x-a", "2");
        let request = plan.request("7").unwrap();
        let all = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("x-a"), ["1", "2"]);
        assert_eq!(all("x-b"), ["client"]);
        assert_eq!(all("last-event-id"), ["7"]);
        assert!(plan.request("\u{1}").unwrap_err().is_request());
        assert!(plan.request("ü").is_ok(), "UTF-8 is sent as it is");
    }
}
