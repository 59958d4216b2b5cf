//! The engines, from outside: against the model, killed, damaged, at their limits.
//!
//! More of them, or the same again: `HEADWATER_LOG_CASES` (operations against the model),
//! `HEADWATER_LOG_KILLS` (rounds), `HEADWATER_LOG_DAMAGES` (rounds), `HEADWATER_LOG_SEED`.

// A panic is how a test reports, and its numbers are small.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod clock;
mod damage;
mod ended;
mod engines;
mod full;
mod kill;
mod limits;
mod model;
mod opening;
mod permissions;
mod producers;
mod space;
mod support;
mod trimmed;
