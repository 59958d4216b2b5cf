//! Bounds on everything that the crate accepts or holds.

use std::time::Duration;

/// Maximum number of grants of an identity.
pub const GRANTS: usize = 100;

/// Maximum number of patterns in all grants of an identity.
pub const GRANT_PATTERNS: usize = 256;

/// Maximum size in bytes of a pattern in a grant.
pub const PATTERN_BYTES: usize = 1024;

/// Maximum number of segments of a pattern. Matching takes time proportional to the product of the
/// numbers of segments of pattern and name.
pub const PATTERN_SEGMENTS: usize = 128;

/// Maximum number of comparisons of one [`Grants::covers`](crate::Grants::covers) or
/// [`StreamPattern::covers`](crate::StreamPattern::covers). Beyond it, the answer is `false`.
pub const COVERS_STEPS: usize = 1 << 18;

/// Maximum number of keys in a key file, revoked ones included.
pub const KEYS: usize = 10_000;

/// Maximum size in bytes of a key file.
pub const KEY_FILE_BYTES: usize = 16 << 20;

/// Maximum size in bytes of the name of a key.
pub const KEY_NAME_BYTES: usize = 128;

/// Time that a change of a key file waits for the lock of another process.
pub const KEY_LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Age of a key file's last change below which the file is read again at the next check. Two changes
/// within the clock tick of a file system can't be told apart by their times.
pub const KEY_FILE_SETTLED: Duration = Duration::from_secs(2);

/// Minimum rate of bytes per second in [`Rates`](crate::Rates). A server that waits between two pieces
/// of a body, of about 64 KiB each, then waits for a few seconds at most.
pub const LEAST_BYTES_PER_SECOND: u64 = 16 << 10;

/// Maximum size in bytes of a token. A larger one is refused before anything of it is decoded.
pub const TOKEN_BYTES: usize = 8 << 10;

/// Maximum nesting depth of the arrays and objects in a token's header and claims and in a JWK Set.
pub const TOKEN_DEPTH: usize = 16;

/// Maximum size in bytes of a token's `sub`.
pub const SUBJECT_BYTES: usize = 256;

/// Maximum size in bytes of a key id (`kid`).
pub const KEY_ID_BYTES: usize = 256;

/// Minimum size in bytes of an HMAC secret. HS384 needs 48 and HS512 needs 64 (RFC 7518 section 3.2).
pub const SECRET_BYTES: usize = 32;

/// Minimum and maximum size in bits of an RSA key (RFC 7518 section 3.3). ring verifies up to 8192.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Maximum size in bytes of a PEM file.
pub const PEM_BYTES: usize = 64 << 10;

/// Maximum size in bytes of a JWK Set.
pub const JWKS_BYTES: usize = 256 << 10;

/// Maximum number of keys in a JWK Set, skipped ones included.
pub const JWKS_KEYS: usize = 100;

/// Default tolerance for clocks that differ, in both directions.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Maximum tolerance for clocks that differ.
pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// Time for which a fetched JWK Set is fresh if its response doesn't tell.
pub const JWKS_FRESH: Duration = Duration::from_secs(600);

/// Minimum time for which a JWK Set is fresh, whatever its response tells.
pub const JWKS_FRESH_MIN: Duration = Duration::from_secs(60);

/// Maximum time for which a JWK Set is fresh, whatever its response tells.
pub const JWKS_FRESH_MAX: Duration = Duration::from_secs(24 * 3600);

/// Minimum time between two fetches of a JWK Set for an unknown key id, or after a failure.
pub const JWKS_FETCH_INTERVAL: Duration = Duration::from_secs(10);

/// Time after which a fetch without a result is taken for lost.
pub const JWKS_FETCH_PATIENCE: Duration = Duration::from_secs(30);

/// Time since the last successful fetch after which the keys of a JWK Set aren't used any more.
pub const JWKS_STALE: Duration = Duration::from_secs(24 * 3600);

/// Maximum number of verified tokens that an [`Authenticator`](crate::Authenticator) remembers.
pub const CACHED_TOKENS: usize = 10_000;

/// Maximum size in bytes of the identities of these tokens, by estimate.
pub const CACHED_TOKENS_BYTES: usize = 32 << 20;

/// Time for which a ticket can be redeemed.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// Maximum number of tickets that wait to be redeemed.
pub const TICKETS: usize = 10_000;

/// Maximum number of tickets of one sender that wait to be redeemed.
pub const TICKETS_PER_SENDER: usize = 100;
