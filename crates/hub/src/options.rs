pub(crate) mod advertised;
#[cfg(any(feature = "gather", feature = "relay"))]
mod upstream;

use std::time::Duration;

use headwater_auth::Action;
use headwater_log::StreamName;
use http::request::Parts;

pub use self::advertised::AdvertisedUrlError;
#[cfg(any(feature = "gather", feature = "relay"))]
pub(crate) use self::upstream::UpstreamOptions;
use crate::{
    access::{Auth, Decision, Hook},
    limits::{Limits, RateLimits},
};

/// The options of a hub. A builder: each method returns the options with one thing changed.
///
/// ```
/// use std::time::Duration;
///
/// use headwater_hub::Options;
///
/// let options = Options::new()
///     .public_url("https://hub.example.com")
///     .heartbeat(Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) root: String,
    pub(crate) index: bool,
    pub(crate) public_url: Option<String>,
    pub(crate) limits: Limits,
    pub(crate) rate_limits: RateLimits,
    pub(crate) long_poll: Duration,
    pub(crate) sse_cycle: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) line_heartbeat: Duration,
    pub(crate) cors: Cors,
    pub(crate) private: bool,
    pub(crate) loopback_webhooks: bool,
    pub(crate) shared_log: bool,
    pub(crate) advertised: Option<String>,
    pub(crate) auth: Option<Auth>,
    pub(crate) hook: Option<Hook>,
    #[cfg(any(feature = "gather", feature = "relay"))]
    pub(crate) upstream: UpstreamOptions,
}

/// The pages of other origins that may use the hub. Responses never allow credentials.
///
/// Other pages can't read the hub's responses. Their requests that change something (POST, PUT,
/// PATCH, DELETE) are refused with 403 before the body is read. The check uses `Origin` and
/// `Sec-Fetch-Site`, which browsers send and scripts can't set; programs that send neither are not
/// checked. Pages of the hub's own origin may always use it.
///
/// ```
/// use headwater_hub::{Cors, Options};
///
/// let options = Options::new().cors(Cors::Any);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cors {
    /// Pages of any origin, including sandboxed pages and files (`Origin: null`).
    Any,
    /// Pages that this machine serves: of `localhost`, names that end in `.localhost`, 127.0.0.0/8
    /// and `[::1]`, at any port, by http or https.
    #[default]
    Loopback,
    /// Pages of these origins: `https://example.com`.
    Only(Vec<String>),
    /// No pages. There are no CORS headers.
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: "/streams".to_owned(),
            index: false,
            public_url: None,
            limits: Limits::default(),
            rate_limits: RateLimits::default(),
            long_poll: Duration::from_secs(20),
            sse_cycle: Duration::from_secs(60),
            heartbeat: Duration::from_secs(15),
            line_heartbeat: Duration::ZERO,
            cors: Cors::default(),
            private: false,
            loopback_webhooks: false,
            shared_log: false,
            advertised: None,
            auth: None,
            hook: None,
            #[cfg(any(feature = "gather", feature = "relay"))]
            upstream: UpstreamOptions::default(),
        }
    }
}

impl Options {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the path of the streams. Default: `/streams`.
    #[must_use]
    pub fn root(mut self, path: &str) -> Self {
        self.root = format!("/{}", path.trim_matches('/'));
        self
    }

    /// Adds `GET /`, an overview of the hub: a page for browsers, JSON for other clients. Default:
    /// off, as the app that the hub is merged into may have a page of its own there. With the root
    /// `/`, that path is the list of streams instead.
    #[must_use]
    pub fn index(mut self) -> Self {
        self.index = true;
        self
    }

    /// Sets the URL by which clients reach the server: scheme, host and port. Default: `http://`
    /// and the request's `Host`.
    #[must_use]
    pub fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.trim_end_matches('/').to_owned());
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Declares that other hubs use the log too. Default: this hub alone does.
    ///
    /// Streams, live readers and `/events` work from every hub. Subscriptions, relays, stored gathers and
    /// durable handlers run on one of them at a time, the owner. It holds a lease in the log. If it ends,
    /// another one takes over: at once after [`Hub::stop`](crate::Hub::stop), otherwise when the lease of
    /// 10 s has ended. The others forward requests for these to the URL that it
    /// [advertises](Self::advertise). [`Hub::durable`](crate::Hub::durable) and `Hub::relay` fail with 503 on another
    /// hub, unless their routes have the layer that [`Hub::owner_layer`](crate::Hub::owner_layer) returns.
    ///
    /// A ticket that one hub issues is valid at all of them, and redeemed once by all together. The log has the token with
    /// which it was requested, or the proof of a key, encrypted under the ticket. The hub that redeems the ticket verifies it.
    /// An identity of [`authorize`](Self::authorize) can't be verified by another hub, so its tickets stay in the memory of
    /// the hub that issued them.
    #[must_use]
    pub fn shared_log(mut self) -> Self {
        self.shared_log = true;
        self
    }

    /// Sets the URL at which the other hubs of a [shared log](Self::shared_log) reach this one: scheme,
    /// host and port, and the path under which the hub is mounted. Default: none, and the others answer
    /// 503 to what they have to forward to this one.
    ///
    /// It needs one of the features `relay`, `webhooks` and `jwks`, and `tls` for https.
    ///
    /// # Errors
    /// It isn't such a URL.
    pub fn advertise(mut self, url: &str) -> Result<Self, AdvertisedUrlError> {
        self.advertised = Some(advertised::parse(url)?);
        Ok(self)
    }

    headwater_wire::setters! {
        /// Limits what each sender may use: a key, a subject of tokens, or an address. Default: no limits,
        /// except for keys that have rates of their own.
        rate_limits(limits: RateLimits) => rate_limits = limits;
        /// Sets the time that a long-poll waits. Default: 20 s.
        long_poll(wait: Duration) => long_poll = wait;
        /// Sets the time after which a response in the protocol's own SSE mode ends, at a whole event,
        /// so that caches on the way can collapse readers into one request again. Default: 60 s. Zero:
        /// it doesn't end.
        sse_cycle(cycle: Duration) => sse_cycle = cycle;
        /// Sets how long an SSE response may be silent before a comment is sent. Default: 15 s. Zero:
        /// no comments.
        heartbeat(every: Duration) => heartbeat = every;
        /// Sets how long an NDJSON response may be silent before an empty line is sent. Clients
        /// override it with `?heartbeat=SECONDS` or `Prefer: heartbeat=SECONDS`. Default: zero, which
        /// means none, as some readers fail at an empty line.
        line_heartbeat(every: Duration) => line_heartbeat = every;
        /// Sets which pages of other origins may use the hub. Default: [`Cors::Loopback`].
        cors(cors: Cors) => cors = cors;
    }

    /// Requires credentials for all endpoints except the health checks, the documents, and those that a
    /// signed URL or the token of a wake authorizes. Default: every client may do everything.
    ///
    /// Responses to reads are then excluded from shared caches, as [`private`](Self::private) does.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self.private = true;
        self
    }

    /// Has the app decide about each request to a guarded endpoint, before its credentials are looked at:
    /// the same endpoints as with [`auth`](Self::auth), with which it can be combined. Without `auth`,
    /// only the app's decisions count, and the tickets that are issued by them.
    ///
    /// The function gets the head of the request, the action that it takes, and the stream, or `None`
    /// for an endpoint that isn't about one stream in its path: a listing, `/events`, subscriptions,
    /// relays, gathers, and `POST /tickets`, which takes the action `read`. It is called once for a
    /// request. Further decisions, for example about each stream of a listing, are made by the grants
    /// of the identity that it returns.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use headwater::{Problem, StatusCode};
    /// use headwater_auth::{Action, Grant, Grants, Identity, StreamPattern};
    /// use headwater_hub::{Decision, Options};
    ///
    /// # fn user_of(_: &http::HeaderMap) -> Option<String> { None }
    /// let options = Options::new().authorize(async |request, _action, _stream| {
    ///     let Some(user) = user_of(&request.headers) else {
    ///         return Decision::Refuse(Problem::new(StatusCode::UNAUTHORIZED).detail("log in first"));
    ///     };
    ///     // The name of a user is one segment of a pattern. It can't add another pattern.
    ///     let actions = [Action::Read, Action::Publish, Action::Create, Action::List];
    ///     let own = StreamPattern::below(["users", &user]);
    ///     let grant = own.and_then(|own| Grant::new(actions, [own]));
    ///     let Ok(grants) = grant.and_then(|grant| Grants::new(vec![grant])) else {
    ///         return Decision::Deny;
    ///     };
    ///     // The app is asked again about a response that is open after a minute.
    ///     let expires = SystemTime::now() + Duration::from_secs(60);
    ///     Decision::Identity(Identity::of_application(&user, grants, Some(expires)))
    /// });
    /// ```
    ///
    /// When an identity [expires](headwater_auth::Identity::expires), the app is asked again about each
    /// response that is open with it. The response ends within a second unless the app confirms the
    /// identity with a later expiry, in 500 ms. So the expiry bounds the time after which a change of a
    /// user's rights counts. A listing of several streams (`/events`) also ends if its grants are
    /// different then, and the client reconnects.
    ///
    /// Two kinds of requests are not decided by the app: those with a ticket, about which it decided when
    /// the ticket was issued, and those with a relay's signed URL. A ticket has the grants of the identity that the
    /// app returned for `POST /tickets`; after [`Decision::Allow`](crate::Decision::Allow), that is `read` of every
    /// stream. An app that identifies browsers by a
    /// cookie lists the origins of its pages or sets [`Cors::Off`]: [`Cors::Any`] lets every page send requests with
    /// the cookie, and the default every page of this machine.
    ///
    /// A future that captures a variable needs its own clone of it: `move |request, action, stream| { let
    /// db = db.clone(); async move { … } }`.
    #[must_use]
    pub fn authorize<F, R>(mut self, decide: F) -> Self
    where
        F: Fn(Parts, Action, Option<StreamName>) -> R + Send + Sync + 'static,
        R: Future<Output = Decision> + Send + 'static,
    {
        self.hook = Some(Hook::new(decide));
        self.private = true;
        self
    }

    /// Excludes responses to reads from shared caches. Default: shared caches may keep them for a
    /// minute.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Allows webhooks at `http://localhost`, `http://127.0.0.1` and `http://[::1]`, for
    /// development. Every client that may subscribe can then make the hub send requests to services
    /// of its own machine. Default: not allowed; a webhook has to be `https`, at a public address.
    #[cfg(feature = "webhooks")]
    #[must_use]
    pub fn loopback_webhooks(mut self) -> Self {
        self.loopback_webhooks = true;
        self
    }
}
