//! Bounds on gathers.

use std::time::Duration;

/// Time that an idle connection to an upstream is kept for the next call.
pub(crate) const KEEP_CONNECTIONS: Duration = Duration::from_secs(4);

/// Maximum number of retries of a call of a gather.
pub(crate) const GATHER_RETRIES: u32 = 10;

/// Maximum timeout of a call, and of a whole gather, in seconds: one day.
pub(crate) const GATHER_SECONDS: f64 = 86_400.0;

/// Maximum rate of calls to one host, in calls per second.
pub(crate) const GATHER_RATE: f64 = 10_000.0;
