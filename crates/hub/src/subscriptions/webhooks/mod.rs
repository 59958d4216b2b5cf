//! Webhooks: the rules for their URLs, the client that calls them, and the endpoints for their
//! receivers.

mod caller;
mod egress;
mod http;

pub(super) use reqwest::Url;

pub(super) use self::{caller::Caller, egress::check, http::routes};
