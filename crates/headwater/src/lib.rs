//! Typed JSON streams from axum handlers, in the format that each client asks for.
//!
//! A handler returns [`Streaming<T>`]. A browser's `EventSource` reads it as Server-Sent Events,
//! curl and other programs as NDJSON. Each item is sent as soon as it exists. [`serve`] runs the
//! app.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use futures_util::stream;
//! use headwater::Streaming;
//!
//! async fn squares() -> Streaming<u64> {
//!     Streaming::new(stream::iter((1..=10).map(|n| n * n)))
//! }
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let app = Router::new().route("/squares", get(squares));
//!     headwater::serve(app, "127.0.0.1:8000").await
//! }
//! ```
//!
//! | to | use |
//! |---|---|
//! | stream typed items | [`Streaming`], with [`Item`] for ids and event names |
//! | feed a stream from a task or thread | [`Streaming::channel`], [`Sender`] |
//! | stream text or bytes unchanged | [`Raw`] |
//! | report an error | [`Problem`] |
//! | resume after a disconnect | [`LastEventId`] |
//! | run the app | [`serve`] |
//! | test it in process | [`test::TestClient`] |
//! | run it under another server | [`layer`] |
//! | share state between handlers | [`State`] |
#![cfg_attr(
    feature = "openapi",
    doc = "| document and validate the API | [`App`] |"
)]
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `auth` | `Auth<Claims>`, the extractor of verified tokens. Off by default |
//! | `docs` | the docs pages of an `App`: the reference, and the player of streams. It includes `openapi` |
//! | `log` | `serve` logs to stderr if the process has no `tracing` subscriber |
//! | `openapi` | `App`, its OpenAPI document, the extractors that validate requests, and `schema` |
//! | `tls` | https: [`Serve`]'s `tls` and `redirect_http`. Off by default |
//!
//! The others are on by default. The rest works in any axum [`Router`] and needs none of them.
//!
//! Not in this crate: the formats themselves (`headwater-wire`), and clients (`headwater-client`).

#[cfg(feature = "openapi")]
mod app;
#[cfg(feature = "auth")]
mod auth;
mod body;
mod channel;
#[cfg(feature = "docs")]
mod docs;
mod end_early;
mod events;
#[cfg(feature = "openapi")]
mod extract;
mod item;
mod last_event_id;
mod negotiate;
mod offload;
mod on_wake;
#[cfg(feature = "openapi")]
mod openapi;
#[cfg(feature = "openapi")]
mod operation;
mod outgoing;
mod panics;
#[cfg(feature = "openapi")]
mod per_type;
mod problem;
mod raw;
mod request;
mod response;
mod serve;
mod source;
mod streaming;
pub mod test;

pub use axum::{
    Extension, Router,
    extract::{ConnectInfo, FromRef, FromRequest, FromRequestParts, State},
    response::{Html, IntoResponse, NoContent, Redirect, Response},
};

#[cfg(feature = "auth")]
pub use auth::{Auth, AuthRejection};
pub use channel::{SendError, Sender};
pub use end_early::end_early;
pub use events::{Event, Events};
pub use headwater_macros::Events;
pub use headwater_wire::{Format, Limits};
pub use http::StatusCode;
pub use item::{IntoItem, Item, ItemId, StreamItem};
pub use last_event_id::LastEventId;
pub use negotiate::{MediaRange, Negotiate, NegotiateLayer, client_address, layer, shutting_down};
pub use offload::{Abandoned, offload};
pub use panics::catch;
pub use problem::Problem;
pub use raw::Raw;
#[doc(hidden)]
pub use request::{BadParameter, query_parameter, query_parameters};
pub use request::{Hosts, NoHost, RequestOrigin, Undecodable};
pub use serve::{
    Address, BodyClock, BoundAddress, NoNetwork, Serve, SlowBody, TrustedProxies, serve,
};
#[cfg(feature = "tls")]
pub use serve::{Tls, TlsError};
pub use streaming::Streaming;

#[cfg(feature = "openapi")]
#[doc(hidden)]
pub use self::operation::describes_its_output;
#[cfg(feature = "openapi")]
pub use self::{
    app::{App, MethodRoute, delete, get, head, patch, post, put},
    extract::{Cookies, Headers, Json, Path, Query, Rejection},
    openapi::{OpenApi, SecurityScheme},
    operation::{
        Accepted, Created, Described, Docs, HasSchema, In, Operation, OperationHandler,
        OperationInput, OperationOutput,
    },
};
#[cfg(feature = "openapi")]
pub use headwater_macros::operation;
#[cfg(feature = "openapi")]
pub use schemars;

/// Validation of JSON values against schemas, with a list of all faults of a value: see
/// [`Schema`](schema::Schema).
#[cfg(feature = "openapi")]
pub mod schema {
    pub use headwater_schema::{CheckBudget, Fault, Faults, Schema, SchemaError, SchemaLimits};
}

#[cfg(feature = "openapi")]
use app::kind_of;

/// Returns the properties of an app. Without the feature, every app is a router.
#[cfg(not(feature = "openapi"))]
fn kind_of(_: &dyn std::any::Any) -> negotiate::AppKind {
    negotiate::AppKind::default()
}
