//! Durable streams by URL: publish with `POST`, follow from anywhere, live, late or after a break.
//!
//! A [`Hub`] serves a [`Log`] over HTTP. It is a [`headwater::App`], so that it describes itself, and can be merged
//! with another or be mounted in a router.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use headwater_hub::Hub;
//! use headwater_log::{MemoryLog, MemoryOptions};
//!
//! # async fn example() -> std::io::Result<()> {
//! let hub = Hub::new(Arc::new(MemoryLog::new(MemoryOptions::default())));
//! headwater::serve(hub.app(), "127.0.0.1:8000").await
//! # }
//! ```
//!
//! | at `/streams/{path}` | |
//! |---|---|
//! | `PUT` | creates a stream: content type, expiry, caps, schema, first messages; or a fork of another |
//! | `POST` | appends, with `Stream-Create: true` also to a stream that isn't there yet; closes with `Stream-Closed: true`, and as failed with `Stream-Error`; NDJSON line by line as it arrives |
//! | `GET` | what there is; `live=long-poll` and `live=sse` as the protocol has them; by `Accept`, events or lines |
//! | `HEAD`, `DELETE` | what is known of it; its end |
//!
//! | at | |
//! |---|---|
//! | `GET /streams` | lists streams |
//! | `GET /events` | many streams on one connection, in the order of the whole hub |
//! | `POST /gather` | many calls of other hosts at once, each result as it comes; off until [upstreams](Options::upstreams) are allowed |
//! | `POST /relay`, and at `/relay/{id}` `GET`, `HEAD`, `PATCH`, `DELETE` | one call to an upstream, its answer a stream |
//! | `GET /` | what there is, as a page or as JSON; only with [`Options::index`] |
//! | `GET /healthz`, `/readyz` | whether it runs; whether the storage answers |
//!
//! Pages of other origins use it only as [`Options::cors`] says: by default those of this machine. On a loopback address
//! [`headwater::serve`] answers only for the names of that address ([`headwater::Hosts`]), so that a page can't pass its own name
//! off as the hub's. An app with a hub in it that runs under another server says so itself, or such a page reads and changes all
//! that there is:
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
//! It speaks the Durable Streams protocol. Where that leaves a choice: the scope of `Stream-Seq` is the stream;
//! `Stream-TTL` with `Stream-Expires-At` is refused; an offset past the tail is; a fork has its source's schema unless
//! it brings its own. Messages of a `text/*` stream that aren't UTF-8 are sent in SSE and NDJSON with U+FFFD in place of
//! what isn't; a plain read gives the bytes. A message of a `text/event-stream` is whole events, one of `application/x-ndjson`
//! whole lines: who asks for events or lines gets them as those.
//!
//! What is not here: how messages are kept (`headwater-log`), formats (`headwater-wire`), serving (`headwater`).

mod append;
mod body;
mod cache;
mod create;
mod describe;
mod durable;
mod error;
mod events;
mod filling;
mod gather;
mod headers;
mod health;
mod index;
mod json;
mod layer;
pub mod limits;
mod listing;
mod live;
mod messages;
mod names;
mod ndjson;
mod offset;
mod options;
mod origin;
mod outgoing;
mod pages;
mod path;
mod peer;
mod read;
mod reason;
mod relay;
mod schema;
mod subscriptions;
mod time;
mod turns;
mod waiting;

use std::{fmt, sync::Arc};

use headwater::{App, get, post};
use headwater_log::Log;

pub use durable::{Durable, DurableStream};
pub use limits::Limits;
pub use options::{Cors, Options};
pub use relay::{Relay, Relayed};

/// A hub: streams by URL, over a log.
///
/// A clone is the same hub.
#[derive(Clone)]
pub struct Hub(Arc<Core>);

/// What all requests share.
pub(crate) struct Core {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) options: Options,
    pub(crate) schemas: schema::Schemas,
    pub(crate) tails: Arc<live::Tails>,
    pub(crate) order: events::OrderTail,
    pub(crate) seats: live::Seats,
    pub(crate) bodies: body::Bodies,
    pub(crate) outgoing: outgoing::Outgoing,
    pub(crate) turns: turns::Turns,
    pub(crate) fillings: filling::Fillings,
    pub(crate) gathers: gather::Gathers,
    pub(crate) relays: relay::Relays,
    pub(crate) subscriptions: subscriptions::Subscriptions,
}

impl Hub {
    /// A hub over a log, with the default options.
    #[must_use]
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self::with(log, Options::default())
    }

    /// A hub over a log.
    #[must_use]
    pub fn with(log: Arc<dyn Log>, options: Options) -> Self {
        let subscriptions = subscriptions::SubscriptionOptions {
            loopback_webhooks: options.loopback_webhooks,
            public_url: options.public_url.clone(),
        };
        let fillings = filling::Fillings::new(Arc::clone(&log), options.limits.fillings);
        let relays = relay::Relays::default();
        fillings.resume_with(relay::resume(
            Arc::clone(&log),
            relays.http(),
            options.upstreams.clone(),
            options.upstream_limits.clone(),
        ));
        Self(Arc::new(Core {
            subscriptions: subscriptions::Subscriptions::new(Arc::clone(&log), subscriptions),
            fillings,
            relays,
            log,
            outgoing: outgoing::Outgoing::new(options.limits.outgoing_bytes),
            options,
            schemas: schema::Schemas::default(),
            tails: Arc::default(),
            order: events::OrderTail::default(),
            seats: live::Seats::default(),
            bodies: body::Bodies::default(),
            turns: turns::Turns::default(),
            gathers: gather::Gathers::default(),
        }))
    }

    /// The app that serves it.
    ///
    /// # Panics
    /// The root of the [options](Options::root) has `{` or `}` in it, or is `/events`, `/gather`, `/healthz` or `/readyz`.
    #[must_use]
    pub fn app(&self) -> App {
        let core = Arc::clone(&self.0);
        core.fillings.recover();
        let route = describe::read(get(read::read));
        let route = describe::head(route.head(read::head));
        let route = describe::create(route.put(create::create));
        let route = describe::append(route.post(append::append));
        let route = describe::delete(route.delete(read::delete));
        let root = core.options.root.as_str();
        let path = format!("{}/{{*path}}", root.trim_end_matches('/'));
        let headers = axum::middleware::from_fn_with_state(Arc::clone(&core), layer::headers);
        let app = App::new("Headwater", env!("CARGO_PKG_VERSION"))
            .description("Durable streams by URL: publish with POST, follow from anywhere, live, late or after a break.")
            .license("MIT or Apache-2.0", "MIT OR Apache-2.0")
            .tag(describe::TAG, "Streams of messages, each at a URL.")
            .tag(gather::TAG, "Calls of other hosts that the hub makes for its clients, where that is allowed.")
            .tag(health::TAG, "Whether the hub runs, and can be used.")
            .route(&path, route)
            .route(root, listing::describe(get(listing::list)))
            .route("/events", events::describe(get(events::events)))
            .route(gather::PATH, gather::describe(post(gather::gather), core.options.relay_secret.is_some()))
            .route("/healthz", health::describe_alive(get(health::alive)))
            .route("/readyz", health::describe_ready(get(health::ready)));
        let app = match core.options.index && root != index::PATH {
            true => app.route(index::PATH, index::describe(get(index::index))),
            false => app,
        };
        let app = relay::routes(app, core.options.relay_secret.is_some());
        let subscriptions = core.subscriptions.routes();
        let app = match core.options.root.as_str() {
            "/" => app.merge(subscriptions),
            root => app.nest(root, subscriptions),
        };
        // Within the headers that every answer has. Under `headwater::serve` it has nothing to do but to catch panics; in any
        // other app it is what a hub needs.
        app.layer(headwater::layer())
            .layer(headers)
            .with_state(core)
    }

    /// Ends what the hub does in the background: the streams that it fills are closed, with a reason that says that this
    /// was interrupted; feeds stay open, and go on when a hub is started over the same log. Nothing new is begun from
    /// then on; requests are answered as before.
    ///
    /// To be called before the log is closed. It takes as long as the last appends do: give it a deadline. Dropped early,
    /// all of them end nevertheless, some perhaps after the log is closed, which the next start finds and sets right.
    ///
    /// ```
    /// # async fn example(hub: headwater_hub::Hub, log: std::sync::Arc<dyn headwater_log::Log>) {
    /// let _ = tokio::time::timeout(std::time::Duration::from_secs(2), hub.stop()).await;
    /// let _ = log.close().await;
    /// # }
    /// ```
    pub async fn stop(&self) {
        self.0.fillings.stop().await;
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}
