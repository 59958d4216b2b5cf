//! A cache of verified tokens.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::time::SystemTime;

use parking_lot::Mutex;
use ring::digest;

use crate::Identity;
use crate::limits::{CACHED_TOKENS, CACHED_TOKENS_BYTES};

/// A bounded cache of the identities of verified tokens, so that a signature is verified once.
///
/// A token is known by its SHA-256 and is in no entry itself. An entry isn't returned from the
/// identity's expiry on. The cache has two halves: what was used since the last turn, and what was
/// used before it. When the first is full, it takes the place of the second.
pub(crate) struct TokenCache {
    halves: Mutex<Halves>,
    /// Maximum number of entries of a half, and of their bytes.
    half: (usize, usize),
}

#[derive(Default)]
struct Halves {
    young: HashMap<TokenHash, Identity>,
    young_bytes: usize,
    old: HashMap<TokenHash, Identity>,
    /// Number of times that the cache was cleared.
    cleared: u64,
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A part of a SHA-256 is as good as all of it to spread the entries.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

/// The state of a cache when a verification began.
#[derive(Clone, Copy)]
pub(crate) struct Cleared(u64);

impl TokenCache {
    /// Makes a cache of at most [`CACHED_TOKENS`] tokens and [`CACHED_TOKENS_BYTES`] bytes.
    pub(crate) fn new() -> Self {
        Self::of(CACHED_TOKENS, CACHED_TOKENS_BYTES)
    }

    fn of(tokens: usize, bytes: usize) -> Self {
        Self {
            halves: Mutex::default(),
            half: (tokens / 2, bytes / 2),
        }
    }

    /// Returns the identity of a token that was verified and hasn't expired, or otherwise the state
    /// to pass to [`insert`](Self::insert).
    pub(crate) fn get(&self, token: &TokenHash, now: SystemTime) -> Result<Identity, Cleared> {
        let mut halves = self.halves.lock();
        let cleared = Cleared(halves.cleared);
        if let Some(identity) = halves.young.get(token) {
            return match identity.is_expired(now) {
                false => Ok(identity.clone()),
                true => Err(cleared),
            };
        }
        match halves.old.remove(token) {
            Some(identity) if !identity.is_expired(now) => {
                self.add(&mut halves, *token, identity.clone());
                Ok(identity)
            }
            _ => Err(cleared),
        }
    }

    /// Adds the identity of a token. It is ignored if the cache was cleared since the verification
    /// began: it may have used a key that isn't valid any more.
    pub(crate) fn insert(&self, token: TokenHash, identity: Identity, cleared: Cleared) {
        let mut halves = self.halves.lock();
        if halves.cleared == cleared.0 {
            self.add(&mut halves, token, identity);
        }
    }

    fn add(&self, halves: &mut Halves, token: TokenHash, identity: Identity) {
        let bytes = size_of::<TokenHash>() + identity.bytes();
        let (tokens, most) = self.half;
        if halves.young.len() >= tokens || halves.young_bytes + bytes > most {
            halves.old = std::mem::take(&mut halves.young);
            halves.young_bytes = 0;
        }
        halves.young_bytes += bytes;
        halves.young.insert(token, identity);
    }

    /// Removes all entries. Call it when a key isn't valid any more.
    pub(crate) fn clear(&self) {
        let mut halves = self.halves.lock();
        *halves = Halves {
            cleared: halves.cleared.wrapping_add(1),
            ..Halves::default()
        };
    }

    /// Returns the number of entries, expired ones included.
    pub(crate) fn len(&self) -> usize {
        let halves = self.halves.lock();
        halves.young.len() + halves.old.len()
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{Grants, IdentityKind};

    fn identity(expires: u64) -> Identity {
        let expires = UNIX_EPOCH + Duration::from_secs(expires);
        Identity::new(
            "a",
            Grants::everything(),
            Some(expires),
            IdentityKind::Anonymous,
        )
    }

    fn add(cache: &TokenCache, token: &str) {
        let hash = TokenHash::of(token);
        if let Err(cleared) = cache.get(&hash, UNIX_EPOCH) {
            cache.insert(hash, identity(10), cleared);
        }
    }

    fn has(cache: &TokenCache, token: &str, seconds: u64) -> bool {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        cache.get(&TokenHash::of(token), now).is_ok()
    }

    #[test]
    fn a_token_is_known_until_its_expiry() {
        let cache = TokenCache::new();
        add(&cache, "a");
        assert!(has(&cache, "a", 9) && !has(&cache, "a", 10) && !has(&cache, "b", 0));
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_used_ones_stay() {
        let cache = TokenCache::of(10, usize::MAX);
        for index in 0..100 {
            add(&cache, "used");
            add(&cache, &index.to_string());
            assert!(cache.len() <= 10);
        }
        assert!(has(&cache, "used", 0) && has(&cache, "99", 0) && !has(&cache, "1", 0));
    }

    #[test]
    fn the_bytes_of_the_identities_are_bounded() {
        let one = identity(10).bytes() + 32;
        let cache = TokenCache::of(usize::MAX, 6 * one);
        (0..100).for_each(|index| add(&cache, &index.to_string()));
        assert!((3..=6).contains(&cache.len()), "{}", cache.len());
    }

    #[test]
    fn a_verification_that_began_before_the_cache_was_cleared_isnt_kept() {
        let cache = TokenCache::new();
        let hash = TokenHash::of("a");
        let Err(cleared) = cache.get(&hash, UNIX_EPOCH) else {
            panic!("nothing was inserted");
        };
        add(&cache, "b");
        cache.clear();
        cache.insert(hash, identity(10), cleared);
        assert_eq!(cache.len(), 0);
    }
}
