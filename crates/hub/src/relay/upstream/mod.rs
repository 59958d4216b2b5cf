//! One call to an upstream, and its answer cut into whole items.
//!
//! ```text
//! Call ─ open() ─► Upstream ─ into_items() ─► Item, Item, … then the end, or a Fault
//! ```
//!
//! The items are the upstream's bytes as they are, cut where one item ends and the next begins, so that
//! all of them put together are its body; but of `application/json` they are the values. Each is given as
//! soon as its last byte is there. The end is only what the upstream says is the end: what is cut is a
//! [`Fault`].
//!
//! An event stream that answers a `GET` and whose events carry ids is a *feed*: when it breaks, or ends
//! without saying that this is its end, it is asked again for what follows the last id. No other call is made
//! twice.
//!
//! What is decided is in `session`, which does no I/O and has no clock; `cut` finds the items.

mod cut;
mod driver;
mod fault;
mod kind;
mod open;
mod seen;
mod session;
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
    /// What is sent, as it is; but `Accept-Encoding` is always `identity`, and `Last-Event-ID` belongs to the
    /// feed once it has one.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether a feed is asked again; if not, the end of the one response is the end of all.
    pub(crate) reconnect: bool,
}

impl Call {
    /// Whether it may be made again if its answer is a feed.
    fn is_repeatable(&self) -> bool {
        self.reconnect && self.method == Method::GET && self.body.is_empty()
    }
}

/// Where to go on with a feed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resume {
    /// The id of the last item that was kept.
    pub(crate) last_event_id: Str,
    /// The ids of the items before it, the newest last, as far as they are known: what comes again is dropped.
    pub(crate) seen: Vec<Str>,
}

/// One whole item of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) bytes: Bytes,
    /// An event stream's: the last event id after this item, with which the feed can be asked for what follows.
    pub(crate) id: Option<Str>,
}
