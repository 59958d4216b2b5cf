//! The fan-out of all streams in the log's order, for `/events`.

pub(crate) mod batch;
pub(crate) mod envelope;
pub(crate) mod feed;
pub(crate) mod patterns;
pub(crate) mod ring;
pub(crate) mod tail;

pub(crate) use tail::OrderTail;
