//! The patterns of a reader of `/events`.

use headwater_auth::{Action, Grants, StreamPattern as Pattern};
use headwater_log::{StreamName, limits::NAME_BYTES};

use crate::{
    error::Failure,
    limits::EVENT_PATTERN_BYTES,
    protocol::path::{check_pattern, is_reserved},
};

/// See [`Patterns::key`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    patterns: Box<[Box<str>]>,
    grants: Option<Grants>,
}

/// Patterns of which at least one has to match, within what the reader may read.
pub(crate) struct Patterns {
    patterns: Vec<Pattern>,
    /// `None` if the reader may read all streams.
    grants: Option<Grants>,
}

impl Patterns {
    /// Parses patterns.
    ///
    /// # Errors
    /// 400: a pattern is invalid, or they exceed the limits.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, Failure> {
        let refuse = |what: String, limit: usize| {
            let detail = format!("{what} bytes are over the limit of {limit}");
            Err(Failure::bad_request(detail).with("limit", limit))
        };
        let mut all = 0;
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            all += text.len();
            if text.len() > NAME_BYTES {
                return refuse(format!("a pattern's {}", text.len()), NAME_BYTES);
            }
            check_pattern(text).map_err(Failure::bad_request)?;
            let pattern = Pattern::new(text)
                .map_err(|why| Failure::bad_request(format!("{text:?} is not a pattern: {why}")))?;
            patterns.push(pattern);
        }
        if all > EVENT_PATTERN_BYTES {
            return refuse(format!("the patterns' {all}"), EVENT_PATTERN_BYTES);
        }
        patterns.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        patterns.dedup();
        Ok(Self {
            patterns,
            grants: None,
        })
    }

    /// Limits the streams to those that these grants allow to read.
    pub(crate) fn within(mut self, grants: Option<Grants>) -> Self {
        self.grants = grants;
        self
    }

    /// Returns `true` if a stream matches. The hub's own streams never do.
    pub(crate) fn matches(&self, name: &StreamName) -> bool {
        let name = name.as_str();
        let allows = |grants: &Grants| grants.allows(Action::Read, Some(name));
        !is_reserved(name)
            && self.patterns.iter().any(|pattern| pattern.matches(name))
            && self.grants.as_ref().is_none_or(allows)
    }

    /// Returns a value that is equal for equal patterns and grants.
    pub(crate) fn key(&self) -> Key {
        Key {
            patterns: self
                .patterns
                .iter()
                .map(|pattern| pattern.as_str().into())
                .collect(),
            grants: self.grants.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Option<Patterns> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        Patterns::parse(&texts).ok()
    }

    #[test]
    fn patterns_are_bounded_by_the_limits() {
        let longest = "x".repeat(NAME_BYTES);
        assert!(patterns(&[&longest]).is_some());
        assert!(patterns(&[&format!("{longest}x")]).is_none());
        let mut full = vec![&*longest; EVENT_PATTERN_BYTES / NAME_BYTES];
        assert!(patterns(&full).is_some());
        full.push("y");
        assert!(patterns(&full).is_none());
    }

    #[test]
    fn any_pattern_may_match_and_none_matches_reserved_streams() {
        let patterns = patterns(&["a", "b/*", "**/z"]).unwrap();
        for (name, expected) in [
            ("a", true),
            ("a/b", false),
            ("b/c", true),
            ("b/c/d", false),
            ("z", true),
            ("q/r/z", true),
            ("__ds/z", false),
        ] {
            let name = StreamName::new(name).unwrap();
            assert_eq!(patterns.matches(&name), expected, "{name}");
        }
    }

    #[test]
    fn readers_with_other_grants_have_another_key() {
        let within = |grant: &str| {
            let grants = Grants::new(vec![grant.parse().unwrap()]).unwrap();
            patterns(&["**"]).unwrap().within(Some(grants)).key()
        };
        assert_eq!(within("read:a/**"), within("read:a/**"));
        assert_ne!(within("read:a/**"), within("read:a/*"));
        assert_ne!(within("read:a/**"), patterns(&["**"]).unwrap().key());
    }

    #[test]
    fn the_order_of_patterns_does_not_matter() {
        let one = patterns(&["a", "b/*", "a"]).unwrap();
        let other = patterns(&["b/*", "a"]).unwrap();
        assert_eq!(one.key(), other.key());
        assert_ne!(one.key(), patterns(&["a"]).unwrap().key());
    }
}
