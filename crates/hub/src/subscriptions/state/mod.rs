//! The state of all subscriptions and its transitions. No I/O, no clock, no randomness: times,
//! random numbers and information from the log are parameters.

mod agenda;
mod config;
mod following;
mod interest;
mod links;
mod names;
mod registry;
mod subscription;
mod waking;

pub(crate) use self::registry::Bounds;
pub(super) use self::{
    config::{Config, ConfigRecord, Target},
    following::{News, TOO_MANY_NAMED},
    links::{Acked, Link, Links},
    registry::{Dirty, Registry},
    subscription::{Ack, State, Subscription, Wake},
};
