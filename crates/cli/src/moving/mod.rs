//! `headwater export` and `headwater import`: streams from a hub as lines, and into a hub.

pub(crate) mod export;
pub(crate) mod import;
