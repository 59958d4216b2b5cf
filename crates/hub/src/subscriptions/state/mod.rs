//! What is known of all subscriptions, and what follows from what happens. No I/O, no clock, no chance:
//! times, random numbers and what the log says are told.

mod agenda;
mod config;
mod following;
mod links;
mod registry;
mod subscription;
mod waking;

pub(super) use self::{
    config::{Config, ConfigRecord, Target},
    following::News,
    links::{Acked, Link, Links},
    registry::{Dirty, Registry},
    subscription::{Ack, State, Subscription, Wake},
};
