//! The fan-out of all streams in the log's order, for `/events`.

pub(crate) mod batch;
pub(crate) mod encode;
pub(crate) mod patterns;
pub(crate) mod pump;
pub(crate) mod reader;
pub(crate) mod ring;

pub(crate) use pump::OrderTail;
