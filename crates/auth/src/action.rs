//! Actions, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::GrantError;

/// Something that an identity may do.
///
/// Its text is the lower-case name: `read`, `publish` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// Reads the messages and the metadata of a stream.
    Read,
    /// Appends to a stream, and closes it.
    Publish,
    /// Creates a stream, also as a fork.
    Create,
    /// Deletes a stream.
    Delete,
    /// Lists streams.
    List,
    /// Creates, changes and removes subscriptions, and claims their work.
    Subscribe,
    /// Starts and controls relays.
    Relay,
    /// Starts gathers.
    Gather,
    /// Operates the server.
    Admin,
}

impl Action {
    /// All actions, in the order in which a set is written.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Publish,
        Self::Create,
        Self::Delete,
        Self::List,
        Self::Subscribe,
        Self::Relay,
        Self::Gather,
        Self::Admin,
    ];

    /// Returns the action's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Subscribe => "subscribe",
            Self::Relay => "relay",
            Self::Gather => "gather",
            Self::Admin => "admin",
        }
    }

    /// Returns `true` if the action never has a stream. A grant of such actions alone needs no
    /// pattern.
    #[must_use]
    pub const fn is_streamless(self) -> bool {
        matches!(self, Self::Gather | Self::Admin)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Action {
    type Err = GrantError;

    fn from_str(name: &str) -> Result<Self, GrantError> {
        let known = Self::ALL.into_iter().find(|action| action.name() == name);
        known.ok_or_else(|| GrantError::unknown_action(name))
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(D::Error::custom)
    }
}

/// A set of [actions](Action).
///
/// Its text is the names, separated by commas; `all` or `*` is all of them. In JSON it is an array
/// of names.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ActionSet(u16);

impl ActionSet {
    /// The set of no actions.
    pub const NONE: Self = Self(0);

    /// The set of all actions.
    pub const ALL: Self = Self((1 << Action::ALL.len()) - 1);

    /// Returns the set with another action.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    /// Returns `true` if the action is in the set.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// Returns `true` if no action is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the actions of the set.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |action| self.contains(*action))
    }

    /// Adds the actions of a name: one action, or all.
    fn add(&mut self, name: &str) -> Result<(), GrantError> {
        match name {
            "*" | "all" => *self = Self::ALL,
            name => *self = self.with(name.parse()?),
        }
        Ok(())
    }
}

impl FromIterator<Action> for ActionSet {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Display for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        for (index, action) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(action.name())?;
        }
        Ok(())
    }
}

impl FromStr for ActionSet {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let mut set = Self::NONE;
        for name in text.split(',') {
            set.add(name.trim())?;
        }
        Ok(set)
    }
}

impl Serialize for ActionSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self == Self::ALL {
            true => serializer.collect_seq(["*"]),
            false => serializer.collect_seq(self.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for ActionSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = Self::NONE;
        for name in Vec::<String>::deserialize(deserializer)? {
            set.add(&name).map_err(D::Error::custom)?;
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_its_lower_case_name() {
        for action in Action::ALL {
            assert_eq!(action.to_string().parse::<Action>().unwrap(), action);
            assert_eq!(action.name(), format!("{action:?}").to_lowercase());
        }
        assert_eq!(
            "Read".parse::<Action>().unwrap_err().to_string(),
            "\"Read\" is not an action; the actions are read, publish, create, delete, list, \
             subscribe, relay, gather and admin"
        );
    }

    #[test]
    fn a_set_contains_the_named_actions_and_no_other() {
        let set: ActionSet = "publish, read".parse().unwrap();
        assert!(set.contains(Action::Read) && set.contains(Action::Publish));
        assert_eq!(set.iter().count(), 2);
        assert_eq!(set.to_string(), "read,publish");
        assert!("".parse::<ActionSet>().is_err());
        assert!("read,".parse::<ActionSet>().is_err());
    }

    #[test]
    fn a_star_or_all_is_every_action() {
        for text in ["*", "all", "read,all"] {
            let set: ActionSet = text.parse().unwrap();
            assert_eq!(set, ActionSet::ALL);
            assert_eq!(set.iter().count(), Action::ALL.len());
        }
        assert_eq!(ActionSet::ALL, Action::ALL.into_iter().collect());
    }

    #[test]
    fn json_round_trips() {
        for set in [
            ActionSet::NONE,
            ActionSet::ALL,
            ActionSet::NONE.with(Action::Gather).with(Action::Read),
        ] {
            let json = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<ActionSet>(&json).unwrap(), set);
        }
        assert!(serde_json::from_str::<ActionSet>(r#"["fly"]"#).is_err());
    }
}
