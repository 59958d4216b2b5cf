//! Grants, and the decision that they are for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{COVERS_STEPS, GRANT_PATTERNS, GRANTS, PATTERN_BYTES};
use crate::{Action, ActionSet, StreamPattern};

/// The reason for which actions, patterns or grants were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrantError(Box<str>);

impl GrantError {
    pub(crate) fn new(reason: impl Into<Box<str>>) -> Self {
        Self(reason.into())
    }

    pub(crate) fn unknown_action(name: &str) -> Self {
        let name: String = name.chars().take(32).collect();
        Self::new(format!(
            "{name:?} is not an action; the actions are read, publish, create, delete, list, \
             subscribe, relay, gather and admin"
        ))
    }
}

/// Actions on the streams that match any of a few patterns.
///
/// In JSON: `{"actions": ["read", "publish"], "streams": ["orders/**"]}`. As text, for a command
/// line: `read,publish:orders/**`, with further patterns after commas. Spaces around them are
/// ignored. A pattern with a comma, with a space at an end, or that begins with an action and a colon, can only be
/// written in JSON. `streams` may be absent if none of the actions
/// [ever has a stream](Action::is_streamless): `gather,admin`.
///
/// The text is for operators. In code that puts a user's name into a grant, use [`new`](Self::new).
///
/// ```
/// use headwater_auth::Grant;
///
/// let grant: Grant = "read,publish:orders/**,prices/*".parse()?;
/// assert_eq!(grant.streams.len(), 2);
/// let json = r#"{"actions":["read","publish"],"streams":["orders/**","prices/*"]}"#;
/// assert_eq!(grant, serde_json::from_str(json)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The actions.
    pub actions: ActionSet,
    /// The patterns of the streams' names. One match is enough.
    #[serde(default)]
    pub streams: Vec<StreamPattern>,
}

impl Grant {
    /// Makes a grant of actions on the streams of patterns.
    ///
    /// Use it, instead of parsing a text, where a part of a pattern comes from outside: a text
    /// `read:users/{user}/**` with the user `x,**` has a second pattern, which matches every stream.
    /// [`StreamPattern::below`] makes a pattern of such a part.
    ///
    /// ```
    /// use headwater_auth::{Action, Grant, StreamPattern};
    ///
    /// let user = "alice";
    /// let own = StreamPattern::below(["users", user])?;
    /// let grant = Grant::new([Action::Read, Action::Publish], [own])?;
    /// assert_eq!(grant, "read,publish:users/alice/**".parse()?);
    /// # Ok::<(), headwater_auth::GrantError>(())
    /// ```
    ///
    /// # Errors
    /// There are no actions, or no patterns although one of the actions has a stream; or a pattern is
    /// longer than [`PATTERN_BYTES`].
    pub fn new(
        actions: impl IntoIterator<Item = Action>,
        streams: impl IntoIterator<Item = StreamPattern>,
    ) -> Result<Self, GrantError> {
        let grant = Self {
            actions: actions.into_iter().collect(),
            streams: streams.into_iter().collect(),
        };
        grant.check()?;
        Ok(grant)
    }

    /// Checks what each part alone can't: the grant grants something, and its patterns aren't too
    /// long.
    fn check(&self) -> Result<(), GrantError> {
        if self.actions.is_empty() {
            return Err(GrantError::new("a grant has at least one action"));
        }
        if self.streams.is_empty()
            && let Some(action) = self.actions.iter().find(|action| !action.is_streamless())
        {
            return Err(GrantError::new(format!(
                "a grant of `{action}` needs the patterns of its streams, such as `**`"
            )));
        }
        for pattern in &self.streams {
            let bytes = pattern.as_str().len();
            if bytes > PATTERN_BYTES {
                return Err(GrantError::new(format!(
                    "a pattern of a grant has at most {PATTERN_BYTES} bytes, and this one has {bytes}"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.actions)?;
        for (index, pattern) in self.streams.iter().enumerate() {
            f.write_str(if index == 0 { ":" } else { "," })?;
            write!(f, "{pattern}")?;
        }
        Ok(())
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (actions, streams) = match text.split_once(':') {
            Some((actions, streams)) => (actions, streams.split(',').map(str::trim).collect()),
            None => (text, Vec::new()),
        };
        let streams = streams.into_iter().map(|pattern| {
            if let Some((action, _)) = pattern.split_once(':')
                && action.trim_end().parse::<ActionSet>().is_ok()
            {
                return Err(GrantError::new(format!(
                    "{pattern:?} begins with an action, as a grant does, and each grant is an option \
                     (`--allow`) of its own"
                )));
            }
            pattern
                .parse()
                .map_err(|error| GrantError::new(format!("{pattern:?}: {error}")))
        });
        let actions: ActionSet = actions.parse()?;
        Self::new(actions.iter(), streams.collect::<Result<Vec<_>, _>>()?)
    }
}

/// The [grants](Grant) of an identity, as a list that is cheap to clone.
///
/// There are no denials: an action is allowed if any grant allows it.
///
/// ```
/// use headwater_auth::{Action, Grants};
///
/// let grants: Grants = serde_json::from_str(
///     r#"[{"actions": ["read", "list"], "streams": ["orders/**"]}, {"actions": ["gather"]}]"#,
/// )?;
/// assert!(grants.allows(Action::Read, Some("orders/2024/7")));
/// assert!(!grants.allows(Action::Publish, Some("orders/2024/7")));
/// assert!(grants.allows(Action::Gather, None));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Grant>", into = "Vec<Grant>")]
pub struct Grants(Arc<[Grant]>);

impl Grants {
    /// Makes a list of grants.
    ///
    /// # Errors
    /// A grant has no actions, or no patterns although one of its actions has a stream; a pattern is
    /// longer than [`PATTERN_BYTES`]; there are more than [`GRANTS`] grants or [`GRANT_PATTERNS`]
    /// patterns.
    pub fn new(grants: Vec<Grant>) -> Result<Self, GrantError> {
        if grants.len() > GRANTS {
            return Err(GrantError::new(format!(
                "an identity has at most {GRANTS} grants, and this one has {}",
                grants.len()
            )));
        }
        let patterns: usize = grants.iter().map(|grant| grant.streams.len()).sum();
        if patterns > GRANT_PATTERNS {
            return Err(GrantError::new(format!(
                "the grants of an identity have at most {GRANT_PATTERNS} patterns, and these have \
                 {patterns}"
            )));
        }
        for (index, grant) in grants.iter().enumerate() {
            let place = |error| GrantError::new(format!("grant {}: {error}", index + 1));
            grant.check().map_err(place)?;
        }
        Ok(Self(grants.into()))
    }

    /// Returns grants of every action on every stream.
    #[must_use]
    pub fn everything() -> Self {
        Self::of(ActionSet::ALL, StreamPattern::everything())
    }

    /// Returns grants of nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::default())
    }

    fn of(actions: ActionSet, pattern: StreamPattern) -> Self {
        let streams = vec![pattern];
        Self([Grant { actions, streams }].into())
    }

    /// Decides whether an action on a stream is granted.
    ///
    /// Without a stream, an action is allowed if any grant has it, with whatever patterns: for
    /// [`Action::Gather`] and [`Action::Admin`], which have no stream, and for a request such as a
    /// list, whose entries the caller then checks one by one. It takes time proportional to the sum
    /// of the patterns' segments times the segments of the name.
    #[must_use]
    pub fn allows(&self, action: Action, stream: Option<&str>) -> bool {
        let Some(name) = stream else {
            return self.any(action);
        };
        let mut patterns = self.patterns(action);
        patterns.any(|pattern| pattern.matches(name))
    }

    /// Returns `true` if the action is granted on every stream that the pattern matches.
    ///
    /// The patterns of the grants may cover it together: `a` and `a/*/**` cover `a/**`. `true` is always
    /// right. `false` is exact as well, unless the decision takes more than [`COVERS_STEPS`] comparisons
    /// with each pattern alone, and as many with all together.
    #[must_use]
    pub fn covers(&self, action: Action, pattern: &StreamPattern) -> bool {
        let mut steps = COVERS_STEPS;
        let mut patterns = self.patterns(action);
        if patterns.any(|wide| wide.covers_within(pattern, &mut steps)) {
            return true;
        }
        let patterns: Vec<_> = self.patterns(action).collect();
        patterns.len() > 1 && pattern.is_covered_by(&patterns, &mut COVERS_STEPS.clone())
    }

    /// Returns `true` if the action is granted on some stream.
    #[must_use]
    pub fn any(&self, action: Action) -> bool {
        self.0.iter().any(|grant| grant.actions.contains(action))
    }

    /// Returns the patterns of the streams on which an action is granted.
    pub fn patterns(&self, action: Action) -> impl Iterator<Item = &StreamPattern> {
        let granting = move |grant: &&Grant| grant.actions.contains(action);
        let grants = self.0.iter().filter(granting);
        grants.flat_map(|grant| &grant.streams)
    }

    /// Returns the grants.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Returns `true` if nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the approximate memory of the grants in bytes. Clones share it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let patterns = self.0.iter().flat_map(|grant| &grant.streams);
        let patterns = patterns.map(|pattern| size_of_val(pattern) + pattern.bytes());
        size_of_val(&*self.0) + patterns.sum::<usize>()
    }
}

impl Default for Grants {
    /// Returns grants of nothing.
    fn default() -> Self {
        Self::none()
    }
}

impl TryFrom<Vec<Grant>> for Grants {
    type Error = GrantError;

    fn try_from(grants: Vec<Grant>) -> Result<Self, GrantError> {
        Self::new(grants)
    }
}

impl From<Grants> for Vec<Grant> {
    fn from(grants: Grants) -> Self {
        grants.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grants(texts: &[&str]) -> Grants {
        let all = texts.iter().map(|text| text.parse().unwrap());
        Grants::new(all.collect()).unwrap()
    }

    #[test]
    fn an_action_is_allowed_on_the_streams_of_its_own_grant_only() {
        let grants = grants(&["read:a/**", "publish,create:b/*,c", "admin"]);
        for (action, name, allowed) in [
            (Action::Read, "a/x/y", true),
            (Action::Read, "b/x", false),
            (Action::Publish, "b/x", true),
            (Action::Create, "c", true),
            (Action::Publish, "a/x", false),
            (Action::Delete, "b/x", false),
            (Action::Admin, "a/x", false),
        ] {
            assert_eq!(
                grants.allows(action, Some(name)),
                allowed,
                "{action} {name}"
            );
        }
    }

    #[test]
    fn an_action_without_a_stream_is_allowed_by_any_grant_of_it() {
        let grants = grants(&["list:a/**", "gather"]);
        assert!(grants.allows(Action::Gather, None));
        assert!(grants.allows(Action::List, None));
        assert!(!grants.allows(Action::Admin, None));
        assert!(grants.any(Action::List) && !grants.any(Action::Read));
    }

    #[test]
    fn everything_and_none_are_what_they_say() {
        for action in Action::ALL {
            for stream in [None, Some("a"), Some("a/b")] {
                assert!(Grants::everything().allows(action, stream));
                assert!(!Grants::none().allows(action, stream));
            }
        }
    }

    #[test]
    fn a_cover_is_made_of_the_patterns_of_the_grants_with_the_action() {
        let grants = grants(&["subscribe:a/**", "read:b/**", "subscribe:c/d,c/*"]);
        let covers = |text: &str| grants.covers(Action::Subscribe, &text.parse().unwrap());
        assert!(covers("a/*/x") && covers("c/d"));
        assert!(!covers("b/x") && !covers("**") && !covers("c/**"));
    }

    #[test]
    fn several_patterns_cover_one_together() {
        for (granted, pattern, covered) in [
            ("read:a,a/*/**", "a/**", true),
            ("read:a/*,a/*/**", "a/**", false),
            ("read:*,*/*,*/*/*/**", "**", true),
            ("read:*,*/*/*/**", "**", false),
            ("read:a/*,b/*", "*/x", false),
            ("read:a/**,*/x", "a/x/**", true),
        ] {
            let grants = grants(&[granted]);
            let is_covered = grants.covers(Action::Read, &pattern.parse().unwrap());
            assert_eq!(is_covered, covered, "{granted} {pattern}");
        }
    }

    #[test]
    fn the_largest_grants_are_compared_in_bounded_time() {
        let many = (0..GRANT_PATTERNS).map(|n| format!("{}{n}", "**/a/".repeat(60)));
        let streams = many.map(|text| text.parse().unwrap()).collect();
        let actions = ActionSet::NONE.with(Action::Read);
        let grants = Grants::new(vec![Grant { actions, streams }]).unwrap();
        let pattern: StreamPattern = "**/a/b/".repeat(40).trim_end_matches('/').parse().unwrap();
        let start = std::time::Instant::now();
        assert!(!grants.covers(Action::Read, &pattern));
        assert!(start.elapsed() < std::time::Duration::from_secs(2));
    }

    #[test]
    fn json_and_text_are_the_same_grant_and_round_trip() {
        for text in [
            "read,publish:orders/**",
            "all:**",
            "gather,admin",
            "read:a,b/*",
        ] {
            let grant: Grant = text.parse().unwrap();
            assert_eq!(grant.to_string(), text);
            let json = serde_json::to_string(&grant).unwrap();
            assert_eq!(serde_json::from_str::<Grant>(&json).unwrap(), grant);
        }
    }

    #[test]
    fn an_error_says_what_would_be_right() {
        let error = |json| {
            serde_json::from_str::<Grants>(json)
                .unwrap_err()
                .to_string()
        };
        for (json, part) in [
            (
                r#"[{"actions":["raed"],"streams":["a"]}]"#,
                "\"raed\" is not an action",
            ),
            (r#"[{"actions":[],"streams":["a"]}]"#, "at least one action"),
            (
                r#"[{"actions":["gather"]},{"actions":["read"]}]"#,
                "grant 2: a grant of `read` needs the patterns of its streams",
            ),
            (
                r#"[{"actions":["read"],"streams":["a*"]}]"#,
                "\"a*\": in a pattern",
            ),
            (
                r#"[{"actions":["read"],"stream":["a"]}]"#,
                "unknown field `stream`",
            ),
        ] {
            assert!(error(json).contains(part), "{}", error(json));
        }
        for text in [
            "read:a/**,publish:b/**",
            "read:a,publish,create:b",
            "read:a, all : b",
            "read:list:a",
        ] {
            let error = text.parse::<Grant>().unwrap_err().to_string();
            assert!(error.contains("(`--allow`) of its own"), "{text}: {error}");
        }
        assert!("read:publisher:b,a:b".parse::<Grant>().is_ok());
        for text in ["read", "read:", ":a", "read:a,", "fly:a", ""] {
            assert!(text.parse::<Grant>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn grants_patterns_and_their_sizes_are_limited() {
        let grant: Grant = "read:a".parse().unwrap();
        assert!(Grants::new(vec![grant.clone(); GRANTS]).is_ok());
        assert!(Grants::new(vec![grant.clone(); GRANTS + 1]).is_err());

        let with = |count| Grant {
            streams: vec!["a".parse().unwrap(); count],
            ..grant.clone()
        };
        assert!(Grants::new(vec![with(GRANT_PATTERNS)]).is_ok());
        assert!(Grants::new(vec![with(GRANT_PATTERNS), with(1)]).is_err());

        let of = |bytes| format!("read:{}", "a".repeat(bytes)).parse::<Grant>();
        assert!(of(PATTERN_BYTES).is_ok());
        assert!(of(PATTERN_BYTES + 1).is_err());
    }

    proptest! {
        #[test]
        fn covers_never_exceeds_allows(
            granted in prop::collection::vec("(read|subscribe):(\\*|\\*\\*|a|b)(/(\\*|\\*\\*|a|b)){0,3}", 0..4),
            pattern in "(\\*|\\*\\*|a|b)(/(\\*|\\*\\*|a|b)){0,3}",
            name in "[abc](/[abc]){0,4}",
        ) {
            let all = granted.iter().map(|text| text.parse().unwrap());
            let grants = Grants::new(all.collect()).unwrap();
            let pattern: StreamPattern = pattern.parse().unwrap();
            if grants.covers(Action::Read, &pattern) && pattern.matches(&name) {
                prop_assert!(grants.allows(Action::Read, Some(&name)));
            }
        }
    }
}
