//! `Stream-Cursor`: groups long-polls of the same moment, so that a cache can answer them together.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time of cursor 0: 2024-10-09T00:00:00Z.
const EPOCH: u64 = 1_728_432_000;

/// Duration of one cursor in seconds.
const INTERVAL: u64 = 20;

/// Maximum number of seconds by which a cursor is ahead of a client's own.
const JITTER: u64 = 3600;

/// Maximum cursor that is accepted from a client: 2^53, which every JSON parser represents exactly.
const GREATEST: u64 = 1 << 53;

/// Returns the cursor of the current time.
pub(crate) fn interval() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    now.saturating_sub(EPOCH) / INTERVAL
}

/// Returns the lower bound of the next cursor for a client that sent one: a cursor ahead of its own
/// if that isn't past yet. Therefore no client receives the same cursor twice, and no cache serves
/// it one response indefinitely.
pub(crate) fn least_cursor(sent: Option<u64>) -> Option<u64> {
    let sent = sent.filter(|sent| (interval()..GREATEST).contains(sent))?;
    let seconds = fastrand::u64(1..=JITTER);
    Some(sent + (seconds / INTERVAL).max(1))
}

/// Returns the cursor for a client.
pub(crate) fn cursor(least: Option<u64>) -> u64 {
    interval().max(least.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_receives_a_cursor_past_its_own() {
        let now = interval();
        assert_eq!(least_cursor(None), None);
        assert_eq!(least_cursor(Some(now - 1)), None);
        for ahead in [0, 1, 1000] {
            assert!(least_cursor(Some(now + ahead)).is_some_and(|least| least > now + ahead));
        }
        assert_eq!(least_cursor(Some(u64::MAX)), None);
        assert!(cursor(Some(now + 9)) >= now + 9);
    }
}
