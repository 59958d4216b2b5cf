//! Patterns of stream names.

use std::fmt;

/// A glob over the `/`-separated segments of a stream's name.
///
/// `*` matches one segment, `**` any number of segments including none. Any other segment matches
/// itself. A `*` next to other characters is refused, so that it isn't mistaken for a wildcard.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exact(Box<str>),
    One,
    Any,
}

impl Pattern {
    /// Parses a pattern. The error describes the reason.
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        let mut segments: Vec<Segment> = Vec::new();
        for segment in text.split('/') {
            let segment = match segment {
                "" => return Err("a pattern has no empty segment"),
                "*" => Segment::One,
                "**" => Segment::Any,
                exact if exact.contains('*') => {
                    return Err("in a pattern, `*` and `**` are whole segments");
                }
                exact => Segment::Exact(exact.into()),
            };
            if !(segment == Segment::Any && segments.last() == Some(&Segment::Any)) {
                segments.push(segment);
            }
        }
        Ok(Self {
            text: text.into(),
            segments: segments.into(),
        })
    }

    /// Returns the pattern's original text.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the approximate memory of the pattern in bytes.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.text.len() + size_of_val(&*self.segments)
    }

    /// Returns `true` if the pattern matches a name. Takes time proportional to the product of the
    /// numbers of segments.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut pattern = &*self.segments;
        let mut rest = Some(name);
        // The point from which to retry with the last `**` matching one more segment.
        let mut retry: Option<(&[Segment], Option<&str>)> = None;
        loop {
            let met = match (pattern.first(), rest) {
                (Some(Segment::Any), _) => {
                    pattern = &pattern[1..];
                    retry = Some((pattern, rest));
                    true
                }
                (None, None) => return true,
                (Some(segment), Some(name)) => {
                    let (first, after) = split(name);
                    pattern = &pattern[1..];
                    rest = after;
                    match segment {
                        Segment::Exact(exact) => **exact == *first,
                        Segment::One | Segment::Any => true,
                    }
                }
                (None, Some(_)) | (Some(_), None) => false,
            };
            if !met {
                let Some((after, Some(name))) = retry else {
                    return false;
                };
                rest = split(name).1;
                pattern = after;
                retry = Some((after, rest));
            }
        }
    }

    /// Returns a prefix of all names that match.
    pub(crate) fn prefix(&self) -> String {
        let mut prefix = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Exact(exact) => {
                    if index > 0 {
                        prefix.push('/');
                    }
                    prefix.push_str(exact);
                }
                Segment::One if index > 0 => {
                    prefix.push('/');
                    break;
                }
                Segment::One | Segment::Any => break,
            }
        }
        prefix
    }
}

fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
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
    fn a_long_pattern_is_matched_in_bounded_time() {
        let pattern = Pattern::new(&format!("{}z", "**/a/".repeat(100))).unwrap();
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
                prop_assert!(text.starts_with(&glob.prefix()), "{}", glob.prefix());
            }
        }
    }
}
