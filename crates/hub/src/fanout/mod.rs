//! Delivery of new messages to live readers: encoded once, shared by all who read the same form.

pub(crate) mod all;
mod near;
pub(crate) mod send_budget;
pub(crate) mod stream;
pub(crate) mod wake_queue;
