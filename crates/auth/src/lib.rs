//! Identities, grants, and one decision.

mod action;
mod grants;
pub mod limits;
mod pattern;

pub use action::{Action, ActionSet};
pub use grants::{Grant, GrantError, Grants};
pub use pattern::StreamPattern;
