//! The HTTP interface to streams: one file per endpoint, and the parsing of requests.
//!
//! Layers with endpoints see [`HubState`](crate::state::HubState). What is below them takes the log and what it needs.

pub(crate) mod append;
pub(crate) mod cache;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod index;
pub(crate) mod listing;
pub(crate) mod messages;
pub(crate) mod moving;
pub(crate) mod ndjson;
pub(crate) mod openapi;
mod plain_read;
pub(crate) mod producer_sequencer;
pub(crate) mod read;
pub(crate) mod response_layer;
pub(crate) mod schema;
