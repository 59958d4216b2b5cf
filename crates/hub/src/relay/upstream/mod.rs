//! One upstream call, and its response split into complete items.
//!
//! ```text
//! Call ─ open() ─► Upstream ─ into_items() ─► Item, Item, … then the end, or a Fault
//! ```
//!
//! The items are the upstream's bytes, split at the boundaries of items, so that their
//! concatenation is the body. The items of `application/json` are the values instead. Each item is
//! returned as soon as its last byte has arrived. Only an end that the upstream signals is an end:
//! a truncated body is a [`Fault`].
//!
//! An event stream that responds to a `GET` and whose events have ids is a *feed*: when it breaks,
//! or ends without an end marker, it reconnects and resumes after the last id. No other call is
//! made twice.
//!
//! The client's session makes the call, reconnects and splits event streams into their blocks.
//! `items` turns what it yields into items, and `splitter` splits other bodies. Neither performs I/O.

mod dedup_window;
mod driver;
mod fault;
mod items;
mod kind;
mod open;
mod splitter;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use headwater_wire::Str;
use http::{HeaderMap, Method};
use reqwest::Url;

pub(crate) use self::{
    driver::Upstream,
    fault::{Fault, OpenError},
    kind::Kind,
    open::{open, take_up},
};

/// A request to an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// The headers, sent unchanged, except that `Accept-Encoding` is always `identity`, and a feed
    /// sets `Last-Event-ID` once it has one.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// `true` if a feed reconnects. If `false`, the end of the response is the end.
    pub(crate) reconnect: bool,
}

impl Call {
    /// Returns `true` if the call may be repeated when its response is a feed.
    fn is_repeatable(&self) -> bool {
        self.reconnect && self.method == Method::GET && self.body.is_empty()
    }
}

/// The point from which a feed resumes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resume {
    /// The id of the last item that was stored.
    pub(crate) last_event_id: Str,
    /// The known ids of earlier items, oldest first. Events with these ids are dropped when they
    /// are repeated.
    pub(crate) seen: Vec<Str>,
}

/// One complete item of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) bytes: Bytes,
    /// For an event stream, the last event id after this item, from which the feed can resume.
    pub(crate) id: Option<Str>,
}
