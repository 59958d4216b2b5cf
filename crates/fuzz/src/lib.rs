//! Checks that hold for every input from outside: the bodies of the fuzz targets.
//!
//! Each function takes an input, as any client or server could send it, and panics if the code doesn't do with it what
//! it should. The tests of this crate call each one with its seeds and with mutations of them. `cargo xtask fuzz` lets
//! libFuzzer search for inputs that reach new code, with the address sanitizer; it takes minutes to build.

mod chunking;
mod egress;
mod grants;
mod hub;
mod import;
mod json_check;
mod memory;
mod request;
mod round_trip;
mod schema;
mod sse_reference;
mod sse_split;
mod state;
mod text;
mod token;

pub use chunking::{json_array, json_seq, ndjson, sse};
pub use egress::egress;
pub use grants::grants;
pub use hub::hub;
pub use import::import;
pub use json_check::json_check;
pub use request::request;
pub use round_trip::round_trip;
pub use schema::schema;
pub use sse_reference::sse_reference;
pub use sse_split::sse_split;
pub use state::state;
pub use text::text;
pub use token::token;

/// A check of one input.
pub type Target = fn(&[u8]);

/// All targets with their names. The seeds of a target are in the folder of its name in `seeds/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("egress", egress),
    ("grants", grants),
    ("hub", hub),
    ("import", import),
    ("json_array", json_array),
    ("json_check", json_check),
    ("json_seq", json_seq),
    ("ndjson", ndjson),
    ("request", request),
    ("round_trip", round_trip),
    ("schema", schema),
    ("sse", sse),
    ("sse_reference", sse_reference),
    ("sse_split", sse_split),
    ("state", state),
    ("text", text),
    ("token", token),
];
