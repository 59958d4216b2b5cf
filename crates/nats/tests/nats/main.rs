//! The engine on servers that the tests start: the behaviour of every engine, the comparison with
//! the model, two hubs on one log, and faults.
//!
//! The tests need the program `nats-server`: at `HEADWATER_NATS_SERVER`, in `.venv/bin` of the
//! workspace, or in `PATH`. Without it they do nothing, and print that. `HEADWATER_LOG_CASES` sets the number
//! of operations against the model, `HEADWATER_NATS_ROUNDS` the rounds of each fault, and
//! `HEADWATER_NATS_SECONDS` the length of those that last.

// Disks are slowed down and filled by means of Linux.
#![cfg(target_os = "linux")]
// A panic is the report of a failed test, and the numbers of tests are small.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value,
    clippy::print_stdout
)]

#[path = "../../../log/tests/log/support.rs"]
#[allow(dead_code, reason = "not all of it is for this engine")]
mod base;
#[path = "../../../log/tests/log/ended.rs"]
mod ended;
#[path = "../../../log/tests/log/engines.rs"]
mod engines;
#[path = "../../../log/tests/log/limits.rs"]
mod limits;
#[path = "../../../log/tests/log/moved.rs"]
mod moved;
#[path = "../../../log/tests/log/ops.rs"]
mod ops;
#[path = "../../../log/tests/log/producers.rs"]
mod producers;
#[path = "../../../log/tests/log/trimmed.rs"]
mod trimmed;

mod cuts;
mod disks;
mod faults;
mod full_disks;
mod hubs;
mod linear;
mod model;
mod network;
mod opening;
mod secured;
mod servers;
mod slow_disks;
mod snapshot_faults;
mod snapshots;
mod support;
mod unrest;
