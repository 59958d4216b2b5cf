//! Requests on their way in, for every endpoint: their senders and what these may use, the pages that make
//! them, and their bodies within the budget of all of them.

pub(crate) mod body;
pub(crate) mod cross_origin;
pub(crate) mod headers;
pub(crate) mod lines;
pub(crate) mod peer;
pub(crate) mod precondition;
pub(crate) mod rates;
