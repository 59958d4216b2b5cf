use std::{sync::OnceLock, time::Duration};

use http::Method;

use crate::{
    Request,
    error::{Error, Kind},
    hub::Stream,
    options::{client_options, setting_options},
    plan::{Plan, Settings, parse_header},
};

/// Sends requests and keeps their connections for the next ones. Cloning it is cheap and shares
/// them.
///
/// It belongs to one tokio runtime: its connections live in the runtime that they were made in.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) settings: Settings,
}

impl Client {
    /// A client with the default settings.
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

    /// A client for many hosts, to none of which it keeps a connection for long.
    pub(crate) fn for_many_hosts() -> Result<Self, Error> {
        let (http, settings) = Parts::for_many_hosts().build()?;
        Ok(Self { http, settings })
    }

    /// Starts a client with other settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            parts: Parts::default(),
        }
    }

    /// A GET request.
    pub fn get(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::GET, url)
    }

    /// A POST request.
    pub fn post(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::POST, url)
    }

    /// A request of any method.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> Request {
        let plan = Plan::new(method, url.as_ref(), self.settings.clone());
        Request::new(Ok(self.http.clone()), plan)
    }

    /// A stream of a hub: to append to, to read and follow, to create and delete.
    #[must_use]
    pub fn stream(&self, url: impl AsRef<str>) -> Stream {
        let (http, settings) = (self.http.clone(), self.settings.clone());
        Stream::new(Ok(http), settings, url.as_ref())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the headers: they may be secret.
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// The settings of a [`Client`] to be. What is set here holds for each of its requests that doesn't
/// set it itself.
#[must_use = "`build` makes the client"]
pub struct ClientBuilder {
    parts: Parts,
}

impl ClientBuilder {
    client_options!();

    fn parts(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// Makes the client.
    ///
    /// # Errors
    /// A setting is wrong, or TLS can't be set up.
    pub fn build(self) -> Result<Client, Error> {
        let (http, settings) = self.parts.build()?;
        Ok(Client { http, settings })
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").finish_non_exhaustive()
    }
}

/// What async and blocking clients are built from.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) connect_timeout: Duration,
    pub(crate) http2_prior_knowledge: bool,
    #[cfg(feature = "tls")]
    roots: Vec<reqwest::Certificate>,
    /// How long an idle connection is kept; zero: not at all; none: as long as reqwest does.
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
                self.settings.headers.append(name, value);
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn root_certificate(&mut self, pem: &[u8]) {
        match reqwest::Certificate::from_pem_bundle(pem) {
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

    /// The client of the functions that need none. It keeps no connection, which would belong to
    /// one runtime; so it can be shared by all, and TLS is set up once.
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

    /// For calls to any number of hosts: the connections to those that are done with must not pile
    /// up until the system gives no more.
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

    /// A client of the network with these settings, which shares no connection with another.
    ///
    /// # Errors
    /// A setting is wrong, which is said once; TLS can't be set up.
    pub(crate) fn connections(&mut self) -> Result<reqwest::Client, Error> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.again(),
        }
    }

    /// As [`connections`](Self::connections), where those were made once.
    pub(crate) fn again(&self) -> Result<reqwest::Client, Error> {
        let http = self.trusting().build();
        // A machine without certificates is no reason to do without http: then https trusts nobody.
        #[cfg(feature = "tls")]
        let http = match http {
            Err(_) if self.roots.is_empty() => self.http().tls_certs_only([]).build(),
            built => built,
        };
        http.map_err(|error| {
            let what = "the client can't be set up".to_owned();
            Error::new(Kind::Request(what)).with_source(error.without_url())
        })
    }

    fn http(&self) -> reqwest::ClientBuilder {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            // A referrer would show one host the query that was meant for another.
            .referer(false)
            // They are followed by `redirect`, which knows what may go along.
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
    fn trusting(&self) -> reqwest::ClientBuilder {
        self.http().tls_certs_merge(self.roots.iter().cloned())
    }

    #[cfg(not(feature = "tls"))]
    fn trusting(&self) -> reqwest::ClientBuilder {
        self.http()
    }
}
