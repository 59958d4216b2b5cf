//! The state of all subscriptions and its transitions. No I/O, no clock, no randomness: times,
//! random numbers and information from the log are parameters.

mod agenda;
mod config;
mod interest;
mod links;
mod name_pool;
mod progress;
mod registry;
mod subscription;
mod waking;

pub(crate) use self::registry::Bounds;
pub(super) use self::{
    config::{Config, ConfigRecord, Target},
    links::{Acked, Link, Links},
    progress::{News, TOO_MANY_NAMED},
    registry::{Dirty, Registry},
    subscription::{Ack, State, Subscription, Wake},
};
