//! Patterns of stream names.

use std::fmt;

use headwater_wire::glob::{self, Part};

use crate::limits::PATH_SEGMENTS;

/// A glob over the `/`-separated segments of a stream's name.
///
/// `*` matches one segment, `**` any number of segments including none. Any other segment matches
/// itself. A `*` next to other characters is refused, so that it isn't mistaken for a wildcard.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    parts: Box<[Part]>,
}

impl Pattern {
    /// Parses a pattern of a request. The error describes the reason.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let segments = text.split('/').count();
        if segments > PATH_SEGMENTS {
            return Err(format!(
                "a pattern has at most {PATH_SEGMENTS} segments, and this one has {segments}"
            ));
        }
        Self::stored(text)
    }

    /// Parses a pattern that was accepted earlier, perhaps by a version without a limit on segments.
    pub(crate) fn stored(text: &str) -> Result<Self, String> {
        let parts = text.split('/').map(|segment| match segment {
            "" => Err("a pattern has no empty segment"),
            "*" => Ok(Part::One),
            "**" => Ok(Part::Any),
            exact if exact.contains('*') => Err("in a pattern, `*` and `**` are whole segments"),
            exact => Ok(Part::Exactly(exact.as_bytes().into())),
        });
        Ok(Self {
            text: text.into(),
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the pattern's original text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the approximate memory of the pattern in bytes.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.text.len() + size_of_val(&*self.parts)
    }

    /// Returns `true` if the pattern matches a name. Takes time proportional to the product of the
    /// numbers of segments.
    pub(crate) fn matches(&self, name: &str) -> bool {
        glob::matches(&self.parts, name.split('/').map(str::as_bytes))
    }

    /// Returns a prefix of all names that match.
    pub(crate) fn prefix(&self) -> &str {
        let (prefix, rest) = self
            .text
            .split_at(self.text.find('*').unwrap_or(self.text.len()));
        match rest.starts_with("**") {
            // The slash before `**` isn't in every name that matches.
            true => prefix.strip_suffix('/').unwrap_or(prefix),
            false => prefix,
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_match_one_segment_or_any_number() {
        let cases = [
            ("events/*", "events/a", true),
            ("events/*", "events", false),
            ("events/*", "events/a/b", false),
            ("events/**", "events", true),
            ("events/**", "events/a/b", true),
            ("events/**", "eventsa", false),
            ("**", "a", true),
            ("**/log", "log", true),
            ("**/log", "a/b/log", true),
            ("**/log", "a/log/b", false),
            ("a/**/b/*", "a/b/c", true),
            ("a/**/b/*", "a/x/b/y/b/c", true),
            ("a/**/b/*", "a/x/b/y/z", false),
            ("*/**", "a", true),
            ("a", "a", true),
            ("a", "b", false),
        ];
        for (pattern, name, met) in cases {
            assert_eq!(
                Pattern::new(pattern).unwrap().matches(name),
                met,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_star_next_to_other_characters_and_an_empty_segment_are_refused() {
        for bad in ["a*", "a/b**", "***", "", "a//b", "/a", "a/"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_number_of_segments_is_limited() {
        let longest = vec!["a"; PATH_SEGMENTS].join("/");
        assert!(Pattern::new(&longest).unwrap().matches(&longest));
        assert_eq!(
            Pattern::new(&format!("{longest}/*")).unwrap_err(),
            "a pattern has at most 128 segments, and this one has 129"
        );
        assert!(Pattern::stored(&format!("{longest}/*")).is_ok());
    }

    #[test]
    fn a_long_pattern_is_matched_in_bounded_time() {
        let pattern = Pattern::new(&format!("{}z", "**/a/".repeat(PATH_SEGMENTS / 2 - 1))).unwrap();
        assert!(!pattern.matches(&format!("{}y", "a/".repeat(400))));
    }

    /// The definition of matching, by exhaustive search.
    fn plain(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((&"**", after)), _) => (0..=name.len()).any(|take| plain(after, &name[take..])),
            (Some((segment, after)), Some((first, rest))) => {
                (*segment == "*" || segment == first) && plain(after, rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition_and_with_the_prefix(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..6),
            name in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..7),
        ) {
            let glob = Pattern::new(&pattern.join("/")).unwrap();
            let text = name.join("/");
            prop_assert_eq!(glob.matches(&text), plain(&pattern, &name));
            if glob.matches(&text) {
                prop_assert!(text.starts_with(glob.prefix()), "{}", glob.prefix());
            }
        }
    }
}
