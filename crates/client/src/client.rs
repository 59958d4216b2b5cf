use std::{sync::OnceLock, time::Duration};

use http::Method;

#[cfg(feature = "tls")]
use crate::tls::{self, Alpn};
use crate::{
    Request,
    error::{Error, Kind},
    hub::Stream,
    options::{client_options, setting_options},
    plan::{Plan, Settings, parse_header},
    token::Token,
};

/// A client that sends requests and keeps their connections for later ones. Clones are cheap and
/// share the connections.
///
/// A client belongs to one tokio runtime: a connection lives in the runtime in which it was opened.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let client = headwater_client::Client::new()?;
/// let first = client.get("http://127.0.0.1:8000/").text().await?;
/// let second = client.get("http://127.0.0.1:8000/").text().await?; // on the same connection
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) settings: Settings,
}

impl Client {
    /// Creates a client with the default settings.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    pub(crate) fn shared() -> Result<Self, Error> {
        let (http, settings) = Parts::shared()?;
        Ok(Self { http, settings })
    }

    /// Creates a client for calls to many hosts, which keeps idle connections only briefly.
    pub(crate) fn for_many_hosts() -> Result<Self, Error> {
        let (http, settings) = Parts::for_many_hosts().build()?;
        Ok(Self { http, settings })
    }

    /// Starts a client with other settings.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), headwater_client::Error> {
    /// let client = headwater_client::Client::builder()
    ///     .bearer("secret")
    ///     .idle_timeout(Duration::from_secs(30))
    ///     .max_attempts(3)
    ///     .build()?;
    /// let mut ticks = client.get("http://127.0.0.1:8000/ticks").events().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            parts: Parts::default(),
        }
    }

    /// Starts a GET request.
    pub fn get(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::GET, url)
    }

    /// Starts a POST request.
    pub fn post(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::POST, url)
    }

    /// Starts a request of any method.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> Request {
        let plan = Plan::new(method, url.as_ref(), self.settings.clone());
        Request::new(Ok(self.http.clone()), plan)
    }

    /// A stream of a hub: to append to, read, follow, create and delete.
    #[must_use]
    pub fn stream(&self, url: impl AsRef<str>) -> Stream {
        let (http, settings) = (self.http.clone(), self.settings.clone());
        Stream::new(Ok(http), settings, url.as_ref())
    }
}

/// The settings of a new [`Client`]. They apply to each of its requests that doesn't override them.
#[must_use = "`build` makes the client"]
pub struct ClientBuilder {
    parts: Parts,
}

impl ClientBuilder {
    client_options!();

    fn parts(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// Creates the client.
    ///
    /// # Errors
    /// A setting is wrong, or TLS can't be set up.
    pub fn build(self) -> Result<Client, Error> {
        let (http, settings) = self.parts.build()?;
        Ok(Client { http, settings })
    }
}

// The headers are left out: they may be secret.
headwater_wire::opaque!(Client, ClientBuilder);

/// The parts from which async and blocking clients are built.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) connect_timeout: Duration,
    pub(crate) http2_prior_knowledge: bool,
    #[cfg(feature = "tls")]
    roots: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// Maximum age of an idle connection. Zero keeps none; `None` is reqwest's default.
    pub(crate) keep_connections: Option<Duration>,
    error: Option<Error>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            connect_timeout: Duration::from_secs(10),
            http2_prior_knowledge: false,
            #[cfg(feature = "tls")]
            roots: Vec::new(),
            keep_connections: None,
            error: None,
        }
    }
}

impl Parts {
    pub(crate) fn header(&mut self, name: &str, value: &str) {
        match parse_header(name, value) {
            Ok((name, value)) => {
                if name == http::header::AUTHORIZATION {
                    self.settings.token = None;
                }
                self.settings.headers.append(name, value);
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    /// Sets the source of tokens, in place of an `Authorization` that was set before.
    pub(crate) fn token(&mut self, token: Token) {
        self.settings.headers.remove(http::header::AUTHORIZATION);
        self.settings.token = Some(token);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn root_certificate(&mut self, pem: &[u8]) {
        match tls::certificates(pem) {
            Ok(roots) if roots.is_empty() => {
                let what = "the root certificate holds no PEM section `CERTIFICATE`";
                self.error.get_or_insert(Error::request(what));
            }
            Ok(roots) => self.roots.extend(roots),
            Err(error) => {
                let what = "the root certificate is not valid PEM";
                let error = Error::request(what).with_source(error);
                self.error.get_or_insert(error);
            }
        }
    }

    /// Returns the client of the free functions, such as `get`. It keeps no connections, because a
    /// connection belongs to one runtime. All callers can therefore share it, and TLS is set up
    /// once.
    pub(crate) fn shared() -> Result<(reqwest::Client, Settings), Error> {
        static SHARED: OnceLock<reqwest::Client> = OnceLock::new();
        let settings = Settings::default();
        if let Some(http) = SHARED.get() {
            return Ok((http.clone(), settings));
        }
        let (http, settings) = Self {
            keep_connections: Some(Duration::ZERO),
            ..Self::default()
        }
        .build()?;
        Ok((SHARED.get_or_init(|| http).clone(), settings))
    }

    /// The parts of a client for calls to any number of hosts. Idle connections to finished hosts
    /// are closed soon, before they use up the process's file descriptors.
    pub(crate) fn for_many_hosts() -> Self {
        Self {
            keep_connections: Some(Duration::from_secs(4)),
            ..Self::default()
        }
    }

    pub(crate) fn build(mut self) -> Result<(reqwest::Client, Settings), Error> {
        let http = self.connections()?;
        Ok((http, self.settings))
    }

    /// Builds an HTTP client with these settings that shares no connections with another.
    ///
    /// # Errors
    /// A setting is wrong (reported once), or TLS can't be set up.
    pub(crate) fn connections(&mut self) -> Result<reqwest::Client, Error> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.again(),
        }
    }

    /// Builds another client, as [`connections`](Self::connections) does, after that has succeeded
    /// once.
    pub(crate) fn again(&self) -> Result<reqwest::Client, Error> {
        let http = self.trusting(self.http())?;
        http.build()
            .map_err(|error| cannot_be_set_up(error.without_url()))
    }

    fn http(&self) -> reqwest::ClientBuilder {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            // A referrer would reveal the query of one host's URL to another host.
            .referer(false)
            // `redirect` follows them, because it knows which headers may be kept.
            .redirect(reqwest::redirect::Policy::none());
        match self.keep_connections {
            Some(Duration::ZERO) => http = http.pool_max_idle_per_host(0),
            Some(time) => http = http.pool_idle_timeout(time),
            None => {}
        }
        if self.http2_prior_knowledge {
            http = http.http2_prior_knowledge();
        }
        match &self.settings.egress {
            Some(egress) => egress.guard(http),
            None => http,
        }
    }

    #[cfg(feature = "tls")]
    fn trusting(&self, http: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, Error> {
        let alpn = match self.http2_prior_knowledge {
            true => Alpn::Http2,
            false => Alpn::Any,
        };
        self.negotiating(alpn, http)
    }

    #[cfg(feature = "tls")]
    fn negotiating(
        &self,
        alpn: Alpn,
        http: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, Error> {
        let config = tls::config(&self.roots, alpn).map_err(cannot_be_set_up)?;
        Ok(http.tls_backend_preconfigured(config))
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
    fn trusting(&self, http: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, Error> {
        Ok(http)
    }
}

fn cannot_be_set_up(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let what = "the client can't be set up".to_owned();
    Error::new(Kind::Request(what)).with_source(error)
}

/// Starts a client of reqwest with the TLS of this crate, for the hub.
///
/// # Errors
/// TLS can't be set up.
pub fn http() -> Result<reqwest::ClientBuilder, Error> {
    Parts::default().trusting(reqwest::Client::builder())
}

/// Starts a client of reqwest as [`http`] does, for HTTP/1.1 alone.
///
/// # Errors
/// TLS can't be set up.
pub fn http1() -> Result<reqwest::ClientBuilder, Error> {
    let http = reqwest::Client::builder().http1_only();
    #[cfg(feature = "tls")]
    let http = Parts::default().negotiating(Alpn::Http1, http)?;
    #[cfg(not(feature = "tls"))]
    let http = Parts::default().trusting(http)?;
    Ok(http)
}

/// Starts a client of reqwest as [`http`] does, which also trusts these certificates in PEM.
///
/// # Errors
/// A certificate isn't valid, there is none, or TLS can't be set up.
#[cfg(feature = "tls")]
pub fn http_trusting(roots: &[u8]) -> Result<reqwest::ClientBuilder, Error> {
    let mut parts = Parts::default();
    parts.root_certificate(roots);
    match parts.error.take() {
        Some(error) => Err(error),
        None => parts.trusting(reqwest::Client::builder()),
    }
}
