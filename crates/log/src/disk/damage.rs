//! Damage that reads have met.

use std::collections::BTreeSet;
use std::ops::Range;

use parking_lot::Mutex;

/// Maximum number of places that are remembered.
const PLACES: usize = 4096;

/// The places at which messages couldn't be read because they are damaged: the id of the stream whose
/// records have them, and the offset of the first one. An extent that is measured ends before them.
///
/// It is kept in memory only. A place that was forgotten is added again by the next read that meets it.
#[derive(Default)]
pub(crate) struct DamageMet(Mutex<BTreeSet<(u64, u64)>>);

impl DamageMet {
    /// Adds a place. Beyond [`PLACES`], all others are forgotten.
    pub(crate) fn add(&self, id: u64, at: u64) {
        let mut places = self.0.lock();
        if places.len() >= PLACES && !places.contains(&(id, at)) {
            places.clear();
        }
        places.insert((id, at));
    }

    /// Returns the first place of a stream in a range of offsets.
    pub(crate) fn first_in(&self, id: u64, range: Range<u64>) -> Option<u64> {
        let places = self.0.lock();
        let found = places.range((id, range.start)..(id, range.end)).next();
        found.map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_in_a_range_is_found() {
        let met = DamageMet::default();
        for (id, at) in [(1, 5), (2, 7), (2, 3), (3, 0)] {
            met.add(id, at);
        }
        assert_eq!(met.first_in(2, 0..100), Some(3));
        assert_eq!(met.first_in(2, 3..4), Some(3));
        assert_eq!(met.first_in(2, 4..100), Some(7));
        assert_eq!(met.first_in(2, 0..3), None);
        assert_eq!(met.first_in(2, 8..100), None);
        assert_eq!(met.first_in(4, 0..u64::MAX), None);
    }

    #[test]
    fn the_number_of_places_is_bounded() {
        let met = DamageMet::default();
        let most = PLACES as u64;
        for at in 0..most {
            met.add(1, at);
        }
        met.add(1, 0);
        let has = |at| met.first_in(1, at..at + 1).is_some();
        assert!(has(0) && has(most - 1));
        met.add(1, most);
        assert!(has(most) && !has(0));
    }
}
