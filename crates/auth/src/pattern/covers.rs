//! Inclusion of patterns: do some, together, match every name that another one matches?
//!
//! The alphabet of a pattern is the set of all segments, which is infinite, so a wildcard always has
//! a segment that no other part of any of the patterns names. Such a *fresh* segment is met by
//! wildcards only. If a wide pattern matches a name with fresh segments in the place of the narrow one's
//! wildcards, it also matches the name with any other segments there, by the same parts. It is
//! therefore sufficient to check the names in which every wildcard of the narrow pattern stands for
//! fresh segments: one for `*`, and each number from none for `**`.
//!
//! The check runs over the narrow pattern and holds the sets of places that the wide ones may have
//! reached. At `**` it continues with each of these that a number of fresh segments leads to. There are
//! few: after at most as many segments as a wide pattern has parts, its set doesn't change any
//! more. Sets that were seen at the same place aren't examined again.

use std::collections::HashSet;

use headwater_wire::glob::Part;

/// A byte that is in no name: names are UTF-8.
const FRESH: u8 = 0xff;

/// Steps for a set of places that is kept: the bound on steps is one on memory too.
const SET_STEPS: usize = 16;

/// Places in a wide pattern: the number of parts that are behind.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Places(Box<[u64]>);

impl Places {
    fn new(parts: usize) -> Self {
        Self(vec![0; parts / 64 + 1].into())
    }

    fn contains(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    /// Adds a place, and those behind each `**` that may stand for no segment.
    fn add(&mut self, mut place: usize, parts: &[Part]) {
        loop {
            self.0[place / 64] |= 1 << (place % 64);
            match parts.get(place) {
                Some(Part::Any) => place += 1,
                _ => return,
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Returns the places after one more segment, or `None` if no steps are left.
    fn after(&self, segment: &[u8], parts: &[Part], steps: &mut usize) -> Option<Self> {
        let mut next = Self::new(parts.len());
        for (place, part) in parts.iter().enumerate() {
            if !self.contains(place) {
                continue;
            }
            *steps = steps.checked_sub(1)?;
            match part {
                Part::Any => next.add(place, parts),
                part if part.meets(segment) => next.add(place + 1, parts),
                _ => {}
            }
        }
        Some(next)
    }
}

/// Returns the segment to check in the place of a part that stands for one.
fn segment(part: &Part) -> Box<[u8]> {
    match part {
        Part::Exactly(segment) => segment.clone(),
        Part::One | Part::Any => [FRESH].into(),
        Part::Around { before, after } => [before, &[FRESH][..], after].concat().into(),
    }
}

/// Returns `true` if each name without empty segments that `narrow` matches is matched by one of `wide`.
/// `false` may also mean that `steps` have been used up.
pub(super) fn covers(wide: &[&[Part]], narrow: &[Part], steps: &mut usize) -> bool {
    if narrow.iter().all(|part| *part == Part::Any) {
        // No name has no segments, so these match what `*/**` matches.
        return decide(wide, &[Part::One, Part::Any], steps) == Some(true);
    }
    decide(wide, narrow, steps) == Some(true)
}

fn decide(wide: &[&[Part]], narrow: &[Part], steps: &mut usize) -> Option<bool> {
    let start = wide.iter().map(|parts| {
        let mut places = Places::new(parts.len());
        places.add(0, parts);
        places
    });
    let start: Box<[Places]> = start.collect();
    let mut seen = HashSet::new();
    let mut open = vec![(0, start)];
    while let Some((at, places)) = open.pop() {
        *steps = steps.checked_sub(SET_STEPS.checked_mul(wide.len().max(1))?)?;
        if places.iter().all(Places::is_empty) {
            return Some(false);
        }
        let Some(part) = narrow.get(at) else {
            let mut ends = places.iter().zip(wide);
            match ends.any(|(places, parts)| places.contains(parts.len())) {
                true => continue,
                false => return Some(false),
            }
        };
        if !seen.insert((at, places.clone())) {
            continue;
        }
        let segment = segment(part);
        let next = places.iter().zip(wide);
        let next = next.map(|(places, parts)| places.after(&segment, parts, steps));
        let next = next.collect::<Option<Box<[Places]>>>()?;
        match part {
            Part::Any => {
                open.push((at + 1, places));
                // One more segment, and then again any number.
                open.push((at, next));
            }
            _ => open.push((at + 1, next)),
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::StreamPattern;
    use crate::limits::{COVERS_STEPS, PATTERN_SEGMENTS};

    fn covers(wide: &str, narrow: &str) -> bool {
        let [wide, narrow] = [wide, narrow].map(|text| StreamPattern::new(text).unwrap());
        wide.covers(&narrow)
    }

    #[test]
    fn a_wider_pattern_covers_a_narrower_one_and_not_the_reverse() {
        for (wide, narrow) in [
            ("**", "a/*/b/**"),
            ("a/**", "a"),
            ("a/**", "a/*/c"),
            ("a/*", "a/b"),
            ("*/**", "**/a"),
            ("**/*", "a/**"),
            ("**/b/**", "a/**/b/*"),
            ("a/**/**", "a/**/b"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
            assert!(!covers(narrow, wide), "{narrow} {wide}");
        }
    }

    #[test]
    fn patterns_with_the_same_names_cover_each_other() {
        for (left, right) in [
            ("*/**", "**/*"),
            ("**", "*/**"),
            ("**/**", "**"),
            ("a/*", "a/*"),
        ] {
            assert!(covers(left, right) && covers(right, left), "{left} {right}");
        }
    }

    #[test]
    fn a_pattern_that_only_shares_names_doesnt_cover() {
        assert!(!covers("*/b", "a/*"));
        assert!(!covers("**/a/**/b", "**/b"));
        assert!(!covers("orders/*", "orders/**"));
    }

    #[test]
    fn a_segment_with_fixed_ends_is_covered_by_shorter_ends() {
        let around = |before: &str, after: &str| {
            let [before, after] = [before, after].map(|text| text.as_bytes().into());
            StreamPattern::of("x", [Part::Around { before, after }].into(), 0)
        };
        assert!(around("b", "").covers(&around("book-", ".json")));
        assert!(around("", "").covers(&StreamPattern::new("*").unwrap()));
        assert!(StreamPattern::new("*").unwrap().covers(&around("a", "")));
        assert!(!around("book-", "").covers(&around("b", "")));
        assert!(!around("ab", "").covers(&around("a", "b")));
        assert!(around("a", "").covers(&StreamPattern::new("ab").unwrap()));
        assert!(!around("a", "").covers(&StreamPattern::new("a").unwrap()));
    }

    #[test]
    fn the_decision_takes_bounded_time() {
        let many = |last| format!("{}{last}", "**/a/*/".repeat(PATTERN_SEGMENTS / 3));
        let start = Instant::now();
        assert!(!covers(&many("z"), &many("y")));
        let mut steps = COVERS_STEPS;
        let [wide, narrow] = [many("b"), many("b")].map(|text| StreamPattern::new(&text).unwrap());
        let _ = wide.covers_within(&narrow, &mut steps);
        assert!(start.elapsed() < Duration::from_secs(20));
        let mut none = 3;
        assert!(!StreamPattern::everything().covers_within(&narrow, &mut none));
    }

    /// All names of up to five of the segments.
    fn names() -> Vec<String> {
        let mut all = Vec::new();
        let mut longest = vec![String::new()];
        for length in 0..5 {
            let segments = ["a", "b", "z"];
            longest = longest
                .iter()
                .flat_map(|name| {
                    segments.map(|segment| match length {
                        0 => segment.to_owned(),
                        _ => format!("{name}/{segment}"),
                    })
                })
                .collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// With patterns of up to four parts over `a` and `b`, names of five segments with one more
        /// letter are enough to tell any two apart.
        #[test]
        fn covering_agrees_with_all_names(
            wide in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..5),
            narrow in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..5),
        ) {
            let [wide, narrow] = [wide, narrow].map(|it| StreamPattern::new(&it.join("/")).unwrap());
            let all = names().iter().all(|name| !narrow.matches(name) || wide.matches(name));
            prop_assert_eq!(wide.covers(&narrow), all, "{} {}", wide, narrow);
        }
    }
}
