//! The hub compared with its peers: durable appends, live fan-out, catch-up reads, startup. And TLS
//! compared with cleartext.

pub(crate) mod append;
pub(crate) mod catchup;
pub(crate) mod fanout;
pub(crate) mod idle;
mod install;
pub(crate) mod latency;
mod reader;
pub(crate) mod relay;
pub(crate) mod scattered;
mod server;
pub(crate) mod startup;
pub(crate) mod tls;

pub(crate) use install::{ensure, versions};
