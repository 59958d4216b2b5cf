//! The engines, tested through their public API: against the model, killed, damaged, at their
//! limits.
//!
//! Environment variables set the number of cases or repeat a run: `HEADWATER_LOG_CASES` (operations
//! against the model), `HEADWATER_LOG_KILLS` (rounds), `HEADWATER_LOG_DAMAGES` (rounds),
//! `HEADWATER_LOG_SEED`.

// A panic is the report of a failed test, and the numbers of tests are small.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod clock;
mod damage;
mod damage_met;
mod ended;
mod engines;
mod full;
mod images;
mod kill;
mod limits;
mod model;
mod moved;
mod opening;
mod ops;
mod permissions;
mod producers;
mod settings;
mod sorting;
mod space;
mod state;
mod support;
mod trimmed;
