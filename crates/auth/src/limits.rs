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
