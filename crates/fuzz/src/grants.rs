//! Grants: one as text or a list as JSON in the first line, a pattern in the second, and names of streams in the others.

use headwater_auth::{Action, Grant, Grants, StreamPattern, TopicNames};

use crate::memory::Meter;

fn parse(text: &str) -> Option<Grants> {
    if text.starts_with('[') {
        return serde_json::from_str(text).ok();
    }
    let grant: Grant = text.parse().ok()?;
    if !text.contains("\u{fffd}") {
        assert_eq!(grant.to_string().parse().as_ref(), Ok(&grant));
    }
    Grants::new(vec![grant]).ok()
}

/// Checks that grants round-trip, and that a pattern that they cover has no name that they don't allow.
///
/// # Panics
/// If they don't, or if it has.
pub fn grants(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.lines();
    let [Some(grants), Some(pattern)] = [lines.next(), lines.next()] else {
        return;
    };
    let meter = Meter::start();
    let grants = parse(grants);
    let pattern = StreamPattern::new(pattern);
    let topics = TopicNames::new();
    if let (Some(grants), Ok(pattern)) = (grants, pattern) {
        let json = serde_json::to_string(&grants).expect("grants are JSON");
        assert_eq!(
            serde_json::from_str::<Grants>(&json).ok(),
            Some(grants.clone())
        );
        assert!(pattern.covers(&pattern) || text.len() > 64);
        let covers = grants.covers(Action::Read, &pattern);
        for name in lines {
            let is_allowed = grants.allows(Action::Read, Some(name));
            let has_empty = name.split('/').any(str::is_empty);
            if pattern.matches(name) {
                assert!(name.starts_with(pattern.prefix()), "{pattern} {name}");
                assert!(
                    is_allowed || !covers || has_empty,
                    "{grants:?} {pattern} {name}"
                );
            }
            if is_allowed {
                assert!(grants.allows(Action::Read, None));
            }
            if let Some(stream) = topics.stream(name) {
                assert!(!stream.split('/').any(str::is_empty), "{name}");
            }
        }
    }
    meter.check(text.len(), 4 << 20, 512);
}
