//! The hub compared with its peers: durable appends, live fan-out, catch-up reads, startup. And the hub
//! alone: TLS against cleartext, against the system calls under it, and over time.

pub(crate) mod append;
pub(crate) mod bare;
pub(crate) mod caps;
pub(crate) mod catchup;
pub(crate) mod cluster;
pub(crate) mod cluster_streams;
pub(crate) mod fanout;
mod folder;
pub(crate) mod idle;
mod install;
pub(crate) mod latency;
mod nats;
mod reader;
pub(crate) mod relay;
pub(crate) mod scattered;
mod server;
pub(crate) mod sorting;
pub(crate) mod startup;
pub(crate) mod tls;

pub(crate) use install::{ensure, versions};
