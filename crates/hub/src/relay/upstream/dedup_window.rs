use std::collections::{HashSet, VecDeque};

use headwater_wire::Str;

use crate::limits::{FEED_IDS, FEED_IDS_BYTES};

/// The ids of a feed's newest events, by which events that are repeated after a disconnect are
/// recognised. Bounded.
#[derive(Debug, Default)]
pub(super) struct DedupWindow {
    order: VecDeque<Str>,
    ids: HashSet<Str>,
    bytes: usize,
}

impl DedupWindow {
    pub(super) fn contains(&self, id: &Str) -> bool {
        self.ids.contains(id)
    }

    pub(super) fn insert(&mut self, id: &Str) {
        if id.is_empty() || id.len() > FEED_IDS_BYTES || self.ids.contains(id) {
            return;
        }
        // A slice of a chunk would keep the whole chunk alive.
        let id = Str::from(&**id);
        self.bytes += id.len();
        self.ids.insert(id.clone());
        self.order.push_back(id);
        while self.order.len() > FEED_IDS || self.bytes > FEED_IDS_BYTES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
            self.ids.remove(&oldest);
        }
    }

    /// Moves all ids of `newer` to the end.
    pub(super) fn append(&mut self, newer: &mut Self) {
        for id in std::mem::take(newer).order {
            self.insert(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_ids_are_remembered() {
        let mut seen = DedupWindow::default();
        for n in 0..=FEED_IDS {
            seen.insert(&n.to_string().into());
        }
        assert!(!seen.contains(&"0".into()));
        assert!(seen.contains(&"1".into()) && seen.contains(&FEED_IDS.to_string().into()));
    }

    #[test]
    fn the_bytes_of_ids_are_bounded() {
        let mut seen = DedupWindow::default();
        let id = |n: usize| Str::from(n.to_string().repeat(FEED_IDS_BYTES / 4));
        for n in 0..5 {
            seen.insert(&id(n));
        }
        seen.insert(&"x".repeat(FEED_IDS_BYTES + 1).into());
        let known: Vec<_> = (0..5).map(|n| seen.contains(&id(n))).collect();
        assert_eq!(known, [false, true, true, true, true]);
        assert_eq!(seen.bytes, FEED_IDS_BYTES / 4 * 4);
    }

    #[test]
    fn a_repeated_id_is_not_counted_twice() {
        let mut seen = DedupWindow::default();
        for _ in 0..FEED_IDS {
            seen.insert(&"1".into());
        }
        seen.insert(&"".into());
        assert_eq!((seen.order.len(), seen.bytes), (1, 1));
    }
}
