//! The claims of a verified token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::TopicNames;
use crate::limits::{GRANT_PATTERNS, SUBJECT_BYTES};
use crate::{Action, ActionSet, Grant, Grants, StreamPattern};

/// The type of Mercure's authorization details, from version 1.0 of the protocol on.
const MERCURE_DETAIL: &str = "https://mercure.rocks/authorization-detail";

/// The claim of Mercure before version 1.0, and its name for issuers that require a namespace.
const MERCURE: [&str; 2] = ["mercure", "https://mercure.rocks/"];

/// Latest time in a claim, in seconds: the end of the year 9999.
const LATEST: f64 = 253_402_300_799.0;

/// The actions of a Mercure publisher: the first update of a topic creates its stream.
const PUBLISH: ActionSet = ActionSet::NONE.with(Action::Publish).with(Action::Create);

/// The actions of a Mercure subscriber.
const SUBSCRIBE: ActionSet = ActionSet::NONE.with(Action::Read);

/// The claims of a token. The errors of its functions describe the reason.
pub(super) struct ClaimSet<'a>(pub(super) &'a Map<String, Value>);

impl ClaimSet<'_> {
    /// Returns a `NumericDate` (RFC 7519 section 2): seconds, perhaps with a fraction.
    pub(super) fn time(&self, name: &str) -> Result<Option<SystemTime>, String> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(seconds) if (0.0..=LATEST).contains(&seconds) => {
                let since = Duration::try_from_secs_f64(seconds);
                let since = since.map_err(|_| format!("{name} is out of range"))?;
                Ok(Some(UNIX_EPOCH + since))
            }
            _ => Err(format!("{name} is not a time in seconds since 1970")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} is not a string")),
        }
    }

    /// Returns `sub`, or an empty text.
    pub(super) fn subject(&self) -> Result<&str, String> {
        let subject = self.text("sub")?.unwrap_or_default();
        if subject.len() > SUBJECT_BYTES || subject.chars().any(char::is_control) {
            return Err(format!(
                "sub has more than {SUBJECT_BYTES} bytes or a control character"
            ));
        }
        Ok(subject)
    }

    /// Returns the audiences (RFC 7519 section 4.1.3): a string, or an array of strings.
    pub(super) fn audience(&self) -> Result<Option<Vec<&str>>, String> {
        let invalid = || "aud is neither a string nor an array of strings".to_owned();
        match self.0.get("aud") {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(values)) => {
                let texts = values.iter().map(Value::as_str).collect::<Option<_>>();
                Ok(Some(texts.ok_or_else(invalid)?))
            }
            Some(_) => Err(invalid()),
        }
    }

    /// Returns what the token grants: the sum of all claims that are known. A token without any of
    /// them grants nothing. Mercure's claims count only if there are names for its topics.
    ///
    /// One invalid grant makes the token invalid. To skip it could change what the rest means.
    pub(super) fn grants(
        &self,
        is_access_token: bool,
        topics: Option<&TopicNames>,
    ) -> Result<Grants, String> {
        let mut grants = match self.0.get("headwater") {
            None => Vec::new(),
            Some(claim) => serde_json::from_value::<Vec<Grant>>(claim.clone())
                .map_err(|error| format!("headwater: {error}"))?,
        };
        if let Some(topics) = topics {
            let claim = MERCURE.iter().find_map(|name| self.0.get(*name));
            if let Some(claim) = claim {
                let claimed = mercure(claim, topics);
                grants.extend(claimed.map_err(|reason| format!("mercure: {reason}"))?);
            }
            if let Some(claim) = self.0.get("authorization_details") {
                let claimed = details(claim, is_access_token, topics);
                let place = |reason| format!("authorization_details: {reason}");
                grants.extend(claimed.map_err(place)?);
            }
        }
        Grants::new(grants).map_err(|error| error.to_string())
    }
}

/// Reads the claim of Mercure 0.x: `{"publish": [selector], "subscribe": [selector]}`.
fn mercure(claim: &Value, topics: &TopicNames) -> Result<Vec<Grant>, String> {
    let claim = claim.as_object().ok_or("not an object")?;
    let mut grants = Vec::new();
    for (name, actions) in [("publish", PUBLISH), ("subscribe", SUBSCRIBE)] {
        let selectors = match claim.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(selectors)) => selectors,
            Some(_) => return Err(format!("{name} is not an array")),
        };
        let patterns = selectors.iter().map(|selector| {
            let selector = selector.as_str().ok_or("a selector is not a string")?;
            topics.selector(selector)
        });
        grants.extend(grant(actions, patterns)?);
    }
    Ok(grants)
}

/// Reads authorization details (RFC 9396) of Mercure 1.0. Those of other types are for others.
fn details(
    claim: &Value,
    is_access_token: bool,
    topics: &TopicNames,
) -> Result<Vec<Grant>, String> {
    let details = claim.as_array().ok_or("not an array")?;
    let of_mercure = |detail: &&Value| detail["type"] == MERCURE_DETAIL;
    let mut grants = Vec::new();
    for detail in details.iter().filter(of_mercure) {
        // "Token Validation" of the protocol: other tokens of the same issuer don't count.
        if !is_access_token {
            return Err("they require the typ at+jwt".to_owned());
        }
        let list = |name: &str| match detail[name].as_array() {
            Some(values) if !values.is_empty() => Ok(values),
            _ => Err(format!("{name} is not an array with at least one element")),
        };
        let mut actions = ActionSet::NONE;
        for action in list("actions")? {
            match action.as_str().ok_or("an action is not a string")? {
                "publish" => actions = PUBLISH.iter().fold(actions, ActionSet::with),
                "subscribe" => actions = SUBSCRIBE.iter().fold(actions, ActionSet::with),
                // The protocol lets later versions add actions; they grant nothing here.
                _ => {}
            }
        }
        if !matches!(detail.get("payload"), None | Some(Value::Object(_))) {
            return Err("payload is not an object".to_owned());
        }
        let patterns = list("topics")?.iter().map(|matcher| {
            let matcher = matcher.as_object().ok_or("a topic is not an object")?;
            let text = matcher.get("match").and_then(Value::as_str);
            let text = text.ok_or("a topic has no match")?;
            match matcher.get("match_type").map(Value::as_str) {
                None | Some(Some("exact")) => topics.exact(text),
                Some(Some("urlpattern")) => topics.url_pattern(text),
                _ => Err("a match_type is neither exact nor urlpattern".to_owned()),
            }
        });
        grants.extend(grant(actions, patterns)?);
    }
    Ok(grants)
}

/// Makes a grant of the patterns that match any stream, if there are some.
fn grant(
    actions: ActionSet,
    patterns: impl Iterator<Item = Result<Option<StreamPattern>, String>>,
) -> Result<Option<Grant>, String> {
    let mut streams = Vec::new();
    for pattern in patterns {
        streams.extend(pattern?);
        if streams.len() > GRANT_PATTERNS {
            return Err(format!("more than {GRANT_PATTERNS} topics"));
        }
    }
    let grants = !streams.is_empty() && !actions.is_empty();
    Ok(grants.then_some(Grant { actions, streams }))
}
