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
//! | share state between handlers | [`App::with_state`], [`State`] |
//!
//! Not in this crate: the formats themselves (`headwater-wire`), and clients (`headwater-client`).

mod app;
mod body;
mod channel;
mod docs;
mod extract;
mod item;
mod last_event_id;
mod negotiate;
mod offload;
mod openapi;
mod operation;
mod panics;
mod per_type;
mod problem;
mod raw;
mod request;
mod response;
pub mod schema;
mod serve;
mod source;
mod streaming;
pub mod test;

pub use axum::{
    Extension, Router,
    extract::{ConnectInfo, FromRef, FromRequest, FromRequestParts, State},
    response::{Html, IntoResponse, NoContent, Redirect, Response},
};

pub use app::{App, MethodRoute, delete, get, head, patch, post, put};
pub use channel::{SendError, Sender};
pub use extract::{Cookies, Headers, Json, Path, Query, Rejection};
pub use headwater_macros::{Events, operation};
pub use headwater_wire::{Format, Limits};
pub use http::StatusCode;
pub use item::{IntoItem, Item, ItemId, StreamItem};
pub use last_event_id::LastEventId;
pub use negotiate::{MediaRange, Negotiate, NegotiateLayer, layer, shutting_down};
pub use offload::{Abandoned, offload};
pub use openapi::{OpenApi, SecurityScheme};
pub use operation::{
    Accepted, Created, Described, Docs, Event, Events, HasSchema, In, Operation, OperationHandler,
    OperationInput, OperationOutput,
};
pub use panics::catch;
pub use problem::Problem;
pub use raw::Raw;
pub use request::{Hosts, NoHost, Undecodable};
pub use schemars;
pub use serve::{Address, BodyClock, BoundAddress, Serve, SlowBody, serve};
pub use streaming::Streaming;
