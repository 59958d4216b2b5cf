//! Bounds on fetching the keys of tokens. Those on the keys, and on how often they are fetched, are in
//! `headwater_auth::limits`.

use std::time::Duration;

/// Time that a fetch of a JWK Set may take.
pub(crate) const JWKS_FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a request whose token has an unknown key id waits for a fetch.
pub(crate) const JWKS_WAIT: Duration = Duration::from_secs(2);

/// Maximum number of requests that wait for a fetch. Others are refused at once.
pub(crate) const JWKS_WAITERS: usize = 256;

/// Maximum number of redirects of a fetch.
pub(crate) const JWKS_REDIRECTS: usize = 3;
