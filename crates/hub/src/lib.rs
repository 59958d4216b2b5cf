//! Durable streams by URL: publish with `POST` and follow from anywhere, live, late or after a
//! disconnect.
//!
//! A [`Hub`] serves a [`Log`] over HTTP. It is a [`headwater::App`]: it has an OpenAPI document,
//! and it can be merged with another app or mounted in a router.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use headwater_hub::Hub;
//! use headwater_log::{MemoryLog, MemoryOptions};
//!
//! # async fn example() -> std::io::Result<()> {
//! let hub = Hub::new(Arc::new(MemoryLog::new(MemoryOptions::default())));
//! hub.start();
//! headwater::serve(hub.app(), "127.0.0.1:8000").await
//! # }
//! ```
//!
//! | at `/streams/{path}` | |
//! |---|---|
//! | `PUT` | creates a stream with its content type, expiry, caps, schema and first messages, or as a fork of another one |
//! | `POST` | appends; with `Stream-Create: true` also to a stream that doesn't exist yet; closes with `Stream-Closed: true`, and as failed with `Stream-Error`; NDJSON line by line as it arrives |
//! | `GET` | reads the messages; `live=long-poll` and `live=sse` as the protocol defines them; with a matching `Accept`, events or lines |
//! | `HEAD`, `DELETE` | returns the stream's metadata; deletes the stream |
//!
//! | at | |
//! |---|---|
//! | `GET /streams` | lists streams |
//! | `GET /events` | many streams on one connection, in the hub's global order |
//! | `POST /gather` | many calls to other hosts at once, each result as it arrives; off until [upstreams](Options::upstreams) are allowed |
//! | `POST /relay`, and at `/relay/{id}` `GET`, `HEAD`, `PATCH`, `DELETE` | one call to an upstream, whose response becomes a stream |
//! | `GET /` | an overview of the hub, as a page or as JSON; only with [`Options::index`] |
//! | `POST /tickets` | a ticket for a client that can't send headers; only with [`Options::auth`] or [`Options::authorize`] |
//! | `GET /export`, `POST /import` | streams as lines of NDJSON, to move them to another hub |
//! | `GET /healthz`, `/readyz` | liveness; readiness, which requires that the storage answers |
//!
//! [`Options::cors`] determines which pages of other origins may use the hub. By default, only
//! pages of this machine may. On a loopback address [`headwater::serve`] only answers requests for
//! the names of that address ([`headwater::Hosts`]), so that a page can't pass off its own host
//! name as the hub's (DNS rebinding). An app that contains a hub and runs under another server has
//! to add this check itself. Without it, such a page can read and change everything in the hub:
//!
//! ```
//! # fn example(hub: &headwater_hub::Hub) -> axum::Router {
//! use headwater::Hosts;
//!
//! let app = axum::Router::new().nest("/hub", hub.app().into_router());
//! app.layer(headwater::layer().hosts(Hosts::loopback())) // or `Hosts::allow(["hub.example.com"])?`
//! # }
//! ```
//!
//! The hub implements the Durable Streams protocol. Where the protocol leaves a choice:
//!
//! - The scope of `Stream-Seq` is the stream.
//! - `Stream-TTL` together with `Stream-Expires-At` is refused.
//! - An offset past the tail is refused.
//! - A fork has its source's schema unless it has its own.
//! - Messages of a `text/*` stream that aren't valid UTF-8 are sent in SSE and NDJSON with U+FFFD
//!   in place of the invalid bytes. A plain read returns the bytes.
//! - A message of a `text/event-stream` consists of whole events, and one of `application/x-ndjson`
//!   of whole lines. A client that asks for events or lines receives those.
//!
//! The features `relay`, `gather`, `webhooks` and `jwks` (the keys of tokens by URL) are the parts that
//! call other hosts, and `tls` is https for these calls. All are on by default.
//!
//! Storage of messages (`headwater-log`), formats (`headwater-wire`) and serving (`headwater`) are
//! not in this crate.

#![cfg_attr(
    not(all(feature = "gather", feature = "relay")),
    allow(dead_code, reason = "gathers and relays use some of it alone")
)]

#[cfg(test)]
#[macro_use]
#[path = "../tests/it/pass_on.rs"]
mod pass_on;

mod access;
mod durable;
mod error;
mod fanout;
mod forward;
#[cfg(feature = "gather")]
mod gather;
mod http;
mod ingest;
pub mod limits;
mod options;
mod ownership;
mod permits;
mod protocol;
#[cfg(feature = "relay")]
mod relay;
mod requests;
#[cfg(any(feature = "gather", feature = "relay"))]
mod secret;
mod state;
mod subscriptions;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use headwater::{App, StatusCode, delete, get, post, put};
use headwater_auth::Action;
use headwater_log::Log;

use self::{
    access::{Guards, Need},
    protocol::path,
    state::HubState,
};

#[cfg(feature = "jwks")]
pub use access::JwksUrlError;
pub use access::{Auth, Decision};
pub use durable::{Durable, DurableBuilder};
pub use forward::ForwardLayer;
pub use limits::{Limits, RateLimits};
pub use options::{AdvertisedUrlError, Cors, Options};
#[cfg(feature = "relay")]
pub use relay::{Relay, RelayStream};

/// A hub: streams by URL, over a log.
///
/// Cloning is cheap. A clone is the same hub.
///
/// ```
/// use std::sync::Arc;
///
/// use headwater::test::TestClient;
/// use headwater_hub::Hub;
/// use headwater_log::{MemoryLog, MemoryOptions};
///
/// # #[tokio::main]
/// # async fn main() {
/// let hub = Hub::new(Arc::new(MemoryLog::new(MemoryOptions::default())));
/// hub.start();
/// let client = TestClient::new(hub.app());
/// let created = client
///     .post("/streams/greetings")
///     .header("stream-create", "true")
///     .header("content-type", "application/json")
///     .body(r#""hello""#)
///     .send()
///     .await;
/// assert_eq!(created.status(), 201);
/// let all = client.get("/streams/greetings?live=false").send().await;
/// assert_eq!(all.text().await, r#"["hello"]"#);
/// hub.stop().await;
/// # }
/// ```
#[derive(Clone)]
pub struct Hub(Arc<HubState>);

impl Hub {
    /// Creates a hub over a log, with the default options.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self::with_options(log, Options::default())
    }

    /// Creates a hub over a log.
    #[must_use]
    pub fn with_options(log: Arc<dyn Log>, options: Options) -> Self {
        #[cfg(any(feature = "gather", feature = "relay"))]
        let options = options.without_replaced_secret();
        let subscriptions = subscriptions::SubscriptionOptions {
            loopback_webhooks: options.loopback_webhooks,
            public_url: options.public_url.clone(),
            bounds: subscriptions::Bounds::of(&options.limits),
        };
        let ingest_jobs = ingest::IngestJobs::new(Arc::clone(&log), options.limits.ingest_jobs);
        let ownership = options.shared_log.then(|| {
            // Until this hub is the owner.
            ingest_jobs.pause();
            ownership::Ownership::new(Arc::clone(&log), options.advertised.clone())
        });
        let reader_permits =
            permits::Permits::new(options.limits.subscribers, "too_many_readers", |limit| {
                format!("the limit of {limit} live readers is reached")
            });
        let limits = &options.limits;
        let outgoing = fanout::send_budget::Outgoing::new(
            limits.outgoing_bytes,
            limits
                .peer_outgoing_bytes
                .unwrap_or(limits.outgoing_bytes / 2),
        );
        Self(Arc::new(HubState {
            subscriptions: subscriptions::Subscriptions::new(Arc::clone(&log), subscriptions),
            #[cfg(feature = "relay")]
            relays: relay::Relays::new(&log, &ingest_jobs, &options),
            ingest_jobs,
            access: access::Access::of(&options, &log),
            log,
            outgoing,
            rates: requests::rates::RateLimiter::of(&options).map(Arc::new),
            options,
            schemas: http::schema::Schemas::default(),
            tails: Arc::default(),
            order: fanout::all::OrderTail::default(),
            reader_permits,
            moves: http::moving::permits(),
            bodies: requests::body::Bodies::default(),
            sequencer: http::producer_sequencer::ProducerSequencer::default(),
            #[cfg(feature = "gather")]
            gathers: gather::Gathers::default(),
            ownership,
            started: OnceLock::new(),
        }))
    }

    /// Starts the hub's background work: it resumes feeds that an earlier process left behind,
    /// closes the other streams that it was filling as interrupted, and delivers to webhooks.
    ///
    /// On a [shared log](Options::shared_log), the hub does this when it becomes the owner, and competes for
    /// that from now on.
    ///
    /// Call it before the hub is served. Otherwise the first request, durable handler or relay
    /// starts it and logs a warning: feeds and webhooks wait until then. Further calls do nothing.
    /// [`stop`](Self::stop) is the counterpart.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(&self) {
        self.0.start();
    }

    /// Returns the app that serves the hub. It only builds the app: [`start`](Self::start) starts
    /// the background work.
    ///
    /// # Panics
    /// If the root of the [options](Options::root) contains `{` or `}`, or is `/events`, `/export`, `/gather`,
    /// `/healthz`, `/import` or `/readyz`.
    #[must_use]
    pub fn app(&self) -> App {
        let core = Arc::clone(&self.0);
        let guards = Guards::of(&core);
        let reads = get(http::read::read).head(http::read::stream_info);
        let route = guards
            .needs(Need::Stream(Action::Read), reads)
            .merge(guards.needs(
                Need::Stream(Action::Create),
                put(http::create::create_stream),
            ))
            .merge(guards.needs(Need::Stream(Action::Publish), post(http::append::append)))
            .merge(guards.needs(
                Need::Stream(Action::Delete),
                delete(http::read::delete_stream),
            ));
        let list = get(http::listing::list_streams).tag(path::STREAMS).error(
            StatusCode::BAD_REQUEST,
            "`after` is not the path of a stream",
        );
        let events = get(http::events::follow_events).tag(path::STREAMS);
        let root = core.options.root.as_str();
        let stream = format!("{}/{{*path}}", root.trim_end_matches('/'));
        let app = App::new("Headwater", env!("CARGO_PKG_VERSION"))
            .description("Durable streams by URL: publish with POST, follow from anywhere, live, late or after a break.")
            .license("MIT or Apache-2.0", "MIT OR Apache-2.0")
            .tag(path::STREAMS, "Streams of messages, each at a URL.")
            .route(&stream, route)
            .route(root, guards.needs(Need::Any(Action::List), list))
            .route("/events", guards.needs(Need::Any(Action::Read), events))
            .tag(http::moving::TAG, "Moving streams to another hub, and backups.")
            .route(
                http::moving::EXPORT,
                guards.needs(
                    Need::Any(Action::Admin),
                    get(http::moving::export_streams).tag(http::moving::TAG),
                ),
            )
            .route(
                http::moving::IMPORT,
                guards.needs(
                    Need::Any(Action::Admin),
                    post(http::moving::import_streams).tag(http::moving::TAG),
                ),
            )
            .tag(http::health::TAG, "The hub's health and readiness.")
            .route("/healthz", get(http::health::healthz).tag(http::health::TAG))
            .route(
                "/readyz",
                get(http::health::readyz).tag(http::health::TAG).error(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The storage doesn't answer, refuses appends, or is shutting down, or the keys of tokens have not been \
                     fetched yet; the problem has the reason",
                ),
            );
        let app = match core.options.index && root != http::index::PATH {
            true => {
                let index = get(http::index::index).tag(http::health::TAG);
                app.route(
                    http::index::PATH,
                    guards.needs(Need::Any(Action::Admin), index),
                )
            }
            false => app,
        };
        let app = guards.describe(app);
        let app = match guards.are_on() {
            true => app.route(
                "/tickets",
                guards.needs(
                    Need::Credentials,
                    post(access::issue_ticket)
                        .tag(path::STREAMS)
                        .describe(access::describe_tickets),
                ),
            ),
            false => app,
        };
        #[cfg(any(feature = "gather", feature = "relay"))]
        let app = add_upstream_routes(app, core.options.upstream.secret.is_some(), &guards);
        let subscriptions = core.subscriptions.routes(&guards);
        let app = match core.options.root.as_str() {
            "/" => app.merge(subscriptions),
            root => app.nest(root, subscriptions),
        };
        let app = app
            .describe_all(requests::precondition::describe)
            .describe_all(http::response_layer::describe);
        let (app, headers) = http::response_layer::HeadersLayer::of(app, &core);
        let app = app.layer(headers);
        // Outermost: the owner checks the requests that it gets, and its responses are complete.
        let app = match core.ownership {
            Some(_) => forward::describe(app, root).layer(ForwardLayer::new(&core)),
            None => app,
        };
        app.describe_all(http::response_layer::describe_retries)
            .with_state(core)
    }

    /// Returns a layer for routes of the app whose handlers are [durable](Self::durable), or use `Hub::relay`. On
    /// a [shared log](Options::shared_log), it forwards their requests to the owner: to the same path at the host and port
    /// that the owner [advertises](Options::advertise). While there is no owner to reach, it answers 503, or 502 if the owner was lost with the
    /// request. Otherwise it does nothing.
    ///
    /// Layers inside of it run on the owner alone, and layers around it on both: authentication that is around it
    /// sees the client's credentials on both.
    ///
    /// ```
    /// use futures_util::stream;
    /// use headwater::{App, Path, Problem, State, post};
    /// use headwater_hub::{Durable, Hub};
    ///
    /// async fn count(State(hub): State<Hub>, Path(id): Path<String>) -> Result<Durable<u32>, Problem> {
    ///     hub.durable(format!("counts/{id}")).run(|| stream::iter(0..3)).await
    /// }
    ///
    /// fn app(hub: Hub) -> App {
    ///     App::new("Counts", "1.0.0")
    ///         .route("/counts/{id}", post(count))
    ///         .layer(hub.owner_layer())
    ///         .with_state(hub.clone())
    ///         .merge(hub.app())
    /// }
    /// ```
    #[must_use]
    pub fn owner_layer(&self) -> ForwardLayer {
        ForwardLayer::on_routes(&self.0)
    }

    /// Stops the hub's background tasks. Ingest jobs end, and their streams are closed as
    /// interrupted. Feeds stay open and resume when a hub is started over the same log. From then
    /// on no job can be started; requests are answered as before. On a
    /// [shared log](Options::shared_log), this also ends the subscriptions here, and another hub takes
    /// over at once.
    ///
    /// Call it before the log is closed. It waits for the last appends, so use a deadline. If the
    /// future is dropped early, all jobs end nevertheless, some perhaps after the log is closed.
    /// The next start detects these and closes their streams.
    ///
    /// ```
    /// # async fn example(hub: headwater_hub::Hub, log: std::sync::Arc<dyn headwater_log::Log>) {
    /// let _ = tokio::time::timeout(std::time::Duration::from_secs(2), hub.stop()).await;
    /// let _ = log.close().await;
    /// # }
    /// ```
    pub async fn stop(&self) {
        self.0.stop().await;
    }
}

/// Adds the endpoints that call upstreams. `guarded`: they require a secret.
#[cfg(any(feature = "gather", feature = "relay"))]
fn add_upstream_routes(
    app: App<Arc<HubState>>,
    guarded: bool,
    guards: &Guards,
) -> App<Arc<HubState>> {
    let app = secret::describe(app, guarded);
    #[cfg(feature = "gather")]
    let app = gather::routes(app, guarded, guards);
    #[cfg(feature = "relay")]
    let app = relay::routes(app, guarded, guards);
    app
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}
