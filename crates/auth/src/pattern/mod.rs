//! Patterns of stream names.

mod covers;

use std::fmt;
use std::str::FromStr;

use headwater_wire::glob::{self, Part};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::GrantError;
use crate::limits::{COVERS_STEPS, PATTERN_SEGMENTS};

/// A glob over the `/`-separated segments of a stream's name.
///
/// `*` matches one segment, `**` any number of segments including none. Any other segment matches
/// itself. A `*` next to other characters is refused, so that it isn't mistaken for a wildcard.
///
/// The patterns of a Mercure claim can also have segments with one variable between fixed text, such
/// as `book-{id}`. Only tokens can contain them. [`as_str`](Self::as_str) has them as they are in
/// the claim, and [`new`](Self::new) doesn't parse that text to the same pattern.
///
/// ```
/// use headwater_auth::StreamPattern;
///
/// let pattern = StreamPattern::new("orders/*/events")?;
/// assert!(pattern.matches("orders/7/events"));
/// assert!(!pattern.matches("orders/7/8/events"));
/// assert!(StreamPattern::new("orders/**")?.covers(&pattern));
/// # Ok::<(), headwater_auth::GrantError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StreamPattern {
    text: Box<str>,
    parts: Box<[Part]>,
    /// Number of bytes of the text before the first wildcard, as [`prefix`](Self::prefix) returns
    /// them.
    fixed: usize,
}

impl StreamPattern {
    /// Parses a pattern from outside.
    ///
    /// # Errors
    /// The text has an empty segment, a `*` next to other characters, or more than
    /// [`PATTERN_SEGMENTS`] segments.
    pub fn new(text: &str) -> Result<Self, GrantError> {
        let segments = text.split('/').count();
        if segments > PATTERN_SEGMENTS {
            return Err(GrantError::new(format!(
                "a pattern has at most {PATTERN_SEGMENTS} segments, and this one has {segments}"
            )));
        }
        Self::stored(text)
    }

    /// Parses a pattern that was accepted earlier, perhaps by a version without a limit on segments.
    ///
    /// # Errors
    /// The text has an empty segment or a `*` next to other characters.
    pub fn stored(text: &str) -> Result<Self, GrantError> {
        let parts = text.split('/').map(|segment| match segment {
            "" => Err("a pattern has no empty segment"),
            "*" => Ok(Part::One),
            "**" => Ok(Part::Any),
            exact if exact.contains('*') => Err("in a pattern, `*` and `**` are whole segments"),
            exact => Ok(Part::Exactly(exact.as_bytes().into())),
        });
        let parts = parts.collect::<Result<_, _>>().map_err(GrantError::new)?;
        Ok(Self::of(text, parts, text.find('*').unwrap_or(text.len())))
    }

    /// Returns the pattern that matches one name. Wildcards in it are plain characters.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let parts = name.split('/');
        let parts = parts.map(|segment| Part::Exactly(segment.as_bytes().into()));
        Self::of(name, parts.collect(), name.len())
    }

    /// Returns the pattern of a folder and everything below it: `users/alice/**` for `["users", "alice"]`.
    /// Each segment matches itself alone, so it may come from outside, as the name of a user does.
    ///
    /// ```
    /// use headwater_auth::StreamPattern;
    ///
    /// let user = "alice";
    /// let own = StreamPattern::below(["users", user])?;
    /// assert!(own.matches("users/alice/inbox") && !own.matches("users/bob/inbox"));
    /// assert!(StreamPattern::below(["users", "**"]).is_err());
    /// assert!(StreamPattern::below(["users", "alice/../bob"]).is_err());
    /// # Ok::<(), headwater_auth::GrantError>(())
    /// ```
    ///
    /// # Errors
    /// A segment is empty, is `.` or `..`, or has `/`, `*`, `,` or a control character; there is no
    /// segment, or there are more than [`PATTERN_SEGMENTS`] with the `**`.
    pub fn below<'a>(segments: impl IntoIterator<Item = &'a str>) -> Result<Self, GrantError> {
        let mut text = String::new();
        for segment in segments {
            if matches!(segment, "" | "." | "..") {
                return Err(GrantError::new(format!(
                    "{segment:?} is no segment of a stream's name"
                )));
            }
            let is_special = |char: char| matches!(char, '/' | '*' | ',') || char.is_control();
            if let Some(char) = segment.chars().find(|char| is_special(*char)) {
                return Err(GrantError::new(format!(
                    "one segment of a stream's name can't have the character {char:?}"
                )));
            }
            text.push_str(segment);
            text.push('/');
        }
        Self::new(&(text + "**")).and_then(|pattern| match pattern.parts.len() {
            1 => Err(GrantError::new("the folder of a pattern has a segment")),
            _ => Ok(pattern),
        })
    }

    /// Makes a pattern of its parts. `wildcard` is the place of the first wildcard in the text.
    pub(crate) fn of(text: &str, parts: Box<[Part]>, wildcard: usize) -> Self {
        let first = parts.iter().find(|part| !matches!(part, Part::Exactly(_)));
        let head = &text[..wildcard];
        let fixed = match first {
            // The slash before `**` isn't in every name that matches.
            Some(Part::Any) => head.strip_suffix('/').unwrap_or(head).len(),
            _ => wildcard,
        };
        Self {
            text: text.into(),
            parts,
            fixed,
        }
    }

    /// Returns the pattern that matches every name.
    #[must_use]
    pub fn everything() -> Self {
        Self::of("**", [Part::Any].into(), 0)
    }

    /// Returns the pattern's original text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the approximate memory of the pattern in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        2 * self.text.len() + size_of_val(&*self.parts)
    }

    /// Returns `true` if the pattern matches a name. Takes time proportional to the product of the
    /// numbers of segments.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        glob::matches(&self.parts, name.split('/').map(str::as_bytes))
    }

    /// Returns a prefix of all names that match.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.text[..self.fixed]
    }

    /// Returns `true` if this pattern matches every stream name that the other one matches.
    ///
    /// A stream name is one without empty segments. `true` is always right. `false` is exact as well,
    /// except for pairs of patterns with so many `**` that the decision takes more than
    /// [`COVERS_STEPS`] comparisons.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.covers_within(other, &mut COVERS_STEPS.clone())
    }

    /// As [`covers`](Self::covers), within a number of comparisons that several calls may share.
    pub(crate) fn covers_within(&self, other: &Self, steps: &mut usize) -> bool {
        covers::covers(&[&self.parts], &other.parts, steps)
    }

    /// Returns `true` if each name that the pattern matches is matched by one of the wide ones.
    pub(crate) fn is_covered_by(&self, wide: &[&Self], steps: &mut usize) -> bool {
        let wide: Vec<_> = wide.iter().map(|pattern| &*pattern.parts).collect();
        covers::covers(&wide, &self.parts, steps)
    }
}

impl fmt::Debug for StreamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for StreamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for StreamPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        Self::new(text)
    }
}

impl Serialize for StreamPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for StreamPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
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
                StreamPattern::new(pattern).unwrap().matches(name),
                met,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_star_next_to_other_characters_and_an_empty_segment_are_refused() {
        for bad in ["a*", "a/b**", "***", "", "a//b", "/a", "a/"] {
            assert!(StreamPattern::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_segment_from_outside_matches_itself_alone_or_is_refused() {
        let own = StreamPattern::below(["users", "a b.c"]).unwrap();
        assert_eq!(own.as_str(), "users/a b.c/**");
        for (name, is_own) in [
            ("users/a b.c", true),
            ("users/a b.c/d/e", true),
            ("users/a b.cd", false),
            ("users", false),
            ("users/x/a b.c", false),
        ] {
            assert_eq!(own.matches(name), is_own, "{name}");
        }
        for bad in [
            "", ".", "..", "*", "**", "a*", "x,**", ",", "a/b", "/", "../b", "a\n",
        ] {
            for segments in [&["users", bad][..], &[bad, "users"], &[bad]] {
                let below = StreamPattern::below(segments.iter().copied());
                assert!(below.is_err(), "{segments:?}");
            }
        }
        assert!(StreamPattern::below([]).is_err());
        assert!(StreamPattern::below(["a"; PATTERN_SEGMENTS - 1]).is_ok());
        assert!(StreamPattern::below(["a"; PATTERN_SEGMENTS]).is_err());
    }

    #[test]
    fn the_number_of_segments_is_limited() {
        let longest = vec!["a"; PATTERN_SEGMENTS].join("/");
        assert!(StreamPattern::new(&longest).unwrap().matches(&longest));
        assert_eq!(
            StreamPattern::new(&format!("{longest}/*"))
                .unwrap_err()
                .to_string(),
            "a pattern has at most 128 segments, and this one has 129"
        );
        assert!(StreamPattern::stored(&format!("{longest}/*")).is_ok());
    }

    #[test]
    fn a_long_pattern_is_matched_in_bounded_time() {
        let text = format!("{}z", "**/a/".repeat(PATTERN_SEGMENTS / 2 - 1));
        let pattern = StreamPattern::new(&text).unwrap();
        assert!(!pattern.matches(&format!("{}y", "a/".repeat(400))));
    }

    #[test]
    fn an_exact_pattern_takes_stars_for_plain_characters() {
        let pattern = StreamPattern::of_name("a/*");
        assert!(pattern.matches("a/*"));
        assert!(!pattern.matches("a/b"));
        assert_eq!(pattern.prefix(), "a/*");
        assert!(StreamPattern::new("a/*").unwrap().covers(&pattern));
        assert!(!pattern.covers(&StreamPattern::new("a/*").unwrap()));
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
            let glob = StreamPattern::new(&pattern.join("/")).unwrap();
            let text = name.join("/");
            prop_assert_eq!(glob.matches(&text), plain(&pattern, &name));
            if glob.matches(&text) {
                prop_assert!(text.starts_with(glob.prefix()), "{}", glob.prefix());
            }
        }
    }
}
