//! The state of a producer that a stream remembers.

use headwater_wire::Digest;

use crate::append::{Append, Producer};
use crate::clock::Timestamp;
use crate::limits::{PRODUCER_IDLE, PRODUCER_WINDOW};

/// Everything that a producer has appended to a stream, over all its epochs. It doesn't depend on
/// the batching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Number of messages.
    pub messages: u64,
    /// The digest of the messages, as the log stores them.
    pub digest: Digest,
}

/// A producer's state in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// The producer's latest epoch.
    pub epoch: u64,
    /// The last sequence number that was accepted in this epoch.
    pub seq: u64,
    /// Everything that the producer has appended.
    pub published: Published,
}

/// The stored state of one producer in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerState {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// The offset after its last accepted append, as it was acknowledged.
    pub(crate) next: u64,
    /// The time of its last append, in milliseconds.
    pub(crate) used: u64,
    pub(crate) published: Published,
    pub(crate) window: Window,
}

impl ProducerState {
    pub(crate) fn known(&self) -> Known {
        Known {
            epoch: self.epoch,
            seq: self.seq,
            published: self.published,
        }
    }

    /// Returns the state after an accepted append. `next` is the offset after it, `now` the time in
    /// milliseconds.
    pub(crate) fn after(
        before: Option<Self>,
        producer: &Producer,
        append: &Append,
        next: u64,
        now: u64,
    ) -> Self {
        let mut published = before.map(|state| state.published).unwrap_or_default();
        published.messages += append.messages.len() as u64;
        for message in &append.messages {
            published.digest.add(message);
        }
        let before = before.filter(|state| state.epoch == producer.epoch);
        let mut window = before.map(|state| state.window).unwrap_or_default();
        window.push(fingerprint(append));
        Self {
            epoch: producer.epoch,
            seq: producer.seq,
            next,
            used: now,
            published,
            window,
        }
    }

    /// Compares a repeated append with the one that was accepted under its sequence number. `seq`
    /// is at most the last number.
    pub(crate) fn repeats(&self, append: &Append, seq: u64) -> Repeats {
        let back = self.seq.checked_sub(seq).map(usize::try_from);
        match back.and_then(Result::ok).map(|back| self.window.get(back)) {
            Some(Some(there)) if there == fingerprint(append) => Repeats::Same,
            Some(Some(_)) => Repeats::Other,
            _ => Repeats::TooOld,
        }
    }

    /// Returns the oldest sequence number of the epoch whose fingerprint is kept.
    pub(crate) fn oldest(&self) -> u64 {
        (self.seq + 1).saturating_sub(self.window.len as u64)
    }
}

/// Returns the time from which a producer that was last used at `used` counts as idle, in
/// milliseconds.
pub(crate) fn idle_from(used: u64) -> u64 {
    Timestamp(used).after(PRODUCER_IDLE).0
}

/// Returns `true` if a producer that was last used at `used` may be forgotten at `now`.
pub(crate) fn is_idle(used: u64, now: u64) -> bool {
    idle_from(used) <= now
}

pub(crate) enum Repeats {
    Same,
    Other,
    /// The fingerprint of the append isn't kept any more.
    TooOld,
}

/// Returns a hash of an append's messages and its `close` flag.
fn fingerprint(append: &Append) -> u32 {
    let mut digest = Digest::EMPTY;
    for message in &append.messages {
        digest.add(message);
    }
    let [a, b, c, d, ..] = digest.to_bytes();
    let hash = u32::from_le_bytes([a, b, c, d]);
    if append.close { !hash } else { hash }
}

/// Hashes of the newest appends of an epoch, at most [`PRODUCER_WINDOW`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Window {
    len: usize,
    /// Index of the next hash.
    next: usize,
    hashes: [u32; PRODUCER_WINDOW],
}

impl Window {
    pub(crate) fn push(&mut self, hash: u32) {
        self.hashes[self.next] = hash;
        self.next = (self.next + 1) % PRODUCER_WINDOW;
        self.len = (self.len + 1).min(PRODUCER_WINDOW);
    }

    /// Returns the hash of the append that is `back` appends before the newest.
    fn get(&self, back: usize) -> Option<u32> {
        let at = (self.next + PRODUCER_WINDOW).checked_sub(1 + back)?;
        (back < self.len).then(|| self.hashes[at % PRODUCER_WINDOW])
    }

    /// Returns the hashes, oldest first.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        (0..self.len).rev().map(|back| {
            let at = self.next + PRODUCER_WINDOW - 1 - back;
            self.hashes[at % PRODUCER_WINDOW]
        })
    }
}

impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Window {}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_the_newest_hashes() {
        let mut window = Window::default();
        for hash in 0..100 {
            window.push(hash);
            let oldest = (hash + 1).saturating_sub(u32::try_from(PRODUCER_WINDOW).unwrap());
            let expected: Vec<u32> = (oldest..=hash).collect();
            assert_eq!(window.iter().collect::<Vec<_>>(), expected);
            assert_eq!(window.get(0), Some(hash));
            assert_eq!(window.get(window.len - 1), Some(oldest));
            assert_eq!(window.get(window.len), None);
        }
    }

    #[test]
    fn closing_and_message_bounds_change_the_fingerprint() {
        let one = Append::new(vec!["ab".into()]);
        let two = Append::new(vec!["a".into(), "b".into()]);
        let closing = Append {
            close: true,
            ..one.clone()
        };
        let all = [one, two, closing].map(|append| fingerprint(&append));
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }
}
