//! What is known of all subscriptions, and what follows from what happens. No I/O, no clock, no chance:
//! times, random numbers and what the log says are told.

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
