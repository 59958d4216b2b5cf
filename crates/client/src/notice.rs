//! Notices: events of a server of many streams that are not items.

use std::fmt;

use headwater_wire::Event;
use serde::Deserialize;

use crate::problem::Plain;

/// The members that are described, from the data of an event of the type
/// [`TRIMMED_EVENT`](crate::control::TRIMMED_EVENT),
/// [`DELETED_EVENT`](crate::control::DELETED_EVENT) or
/// [`IMPORTED_EVENT`](crate::control::IMPORTED_EVENT).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    stream: Option<String>,
    reason: Option<String>,
    damaged_from: Option<String>,
}

/// A notice. Its `Display` describes it in words.
pub(crate) struct Notice<'a>(&'a Event);

impl<'a> Notice<'a> {
    /// Returns `None` if the event isn't a notice.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        let is_notice = event.is_trimmed() || event.is_deleted() || event.is_imported();
        is_notice.then_some(Self(event))
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Told = serde_json::from_str(&self.0.data).unwrap_or_default();
        let stream = told.stream.as_deref().unwrap_or("a stream");
        let stream = Plain(stream);
        match told.reason.as_deref() {
            _ if self.0.is_trimmed() && told.damaged_from.is_some() => {
                write!(f, "messages of {stream} are damaged and can't be read")
            }
            _ if self.0.is_trimmed() => {
                write!(
                    f,
                    "messages of {stream} were removed before they were received"
                )
            }
            _ if self.0.is_imported() => {
                write!(
                    f,
                    "{stream} was imported, with messages that may not have been received"
                )
            }
            Some("expired") => write!(f, "{stream} has expired"),
            Some("forgotten") => {
                f.write_str("streams have ended, and the server no longer knows which")
            }
            _ => write!(f, "{stream} was deleted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_wire::{
        Str,
        sse::{DELETED_EVENT, IMPORTED_EVENT, TRIMMED_EVENT},
    };

    use super::*;

    #[track_caller]
    fn check(event_type: &'static str, data: &'static str, expected: Option<&str>) {
        let mut event = Event::new(Str::from(data));
        event.event = Str::from(event_type);
        let found = Notice::of(&event).map(|notice| notice.to_string());
        assert_eq!(found.as_deref(), expected, "{event_type}: {data}");
    }

    #[test]
    fn a_notice_is_described_in_words_and_an_item_is_not() {
        let trimmed = r#"{"id":"1","stream":"a/b","offset":"2","trimmed":true}"#;
        check("message", trimmed, None);
        let gone = "messages of a/b were removed before they were received";
        check(TRIMMED_EVENT, trimmed, Some(gone));
        let damaged = r#"{"stream":"a/b","offset":"2","trimmed":true,"damaged_from":"1"}"#;
        let lost = "messages of a/b are damaged and can't be read";
        check(TRIMMED_EVENT, damaged, Some(lost));
        let deleted = r#"{"id":"1","stream":"a/b","deleted":true,"reason":"deleted"}"#;
        check("deleted", deleted, None);
        check(DELETED_EVENT, deleted, Some("a/b was deleted"));
        let expired = r#"{"id":"1","stream":"a/b","deleted":true,"reason":"expired"}"#;
        check(DELETED_EVENT, expired, Some("a/b has expired"));
        let forgotten = r#"{"id":"1","deleted":true,"reason":"forgotten"}"#;
        let unknown = "streams have ended, and the server no longer knows which";
        check(DELETED_EVENT, forgotten, Some(unknown));
        let imported = r#"{"id":"1","stream":"a/b","imported":true}"#;
        let told = "a/b was imported, with messages that may not have been received";
        check(IMPORTED_EVENT, imported, Some(told));
        check(DELETED_EVENT, "no JSON", Some("a stream was deleted"));
    }
}
