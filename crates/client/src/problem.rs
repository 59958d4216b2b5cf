use std::fmt;

use headwater_wire::{json::without_bom, status, terminal};
use serde_json::{Map, Value};

/// A server's description of an error: the members of RFC 9457, "Problem Details for HTTP APIs".
///
/// It is the body of an error response (`application/problem+json`), or the data of an
/// `event: headwater:error` in the middle of a stream.
///
/// ```no_run
/// # async fn run() {
/// let response = headwater_client::get("http://127.0.0.1:8000/ticks?count=-1").text().await;
/// if let Err(error) = response
///     && let Some(problem) = error.problem()
/// {
///     println!("{:?}: {:?}", problem.status(), problem.detail());
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    members: Map<String, Value>,
}

impl Problem {
    /// Parses the JSON text of a problem. Returns `None` if it isn't a JSON object.
    pub(crate) fn from_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(without_bom(text))
            .ok()
            .map(|members| Self { members })
    }

    /// Extracts an error message from a JSON object that isn't declared as a problem: from its
    /// `detail` and `title`, or from its `message` or `error`, which may also be an object with one
    /// of these members.
    pub(crate) fn sentence(text: &[u8]) -> Option<String> {
        let problem = Self::from_json(text)?;
        if problem.detail().or(problem.title()).is_some() {
            return Some(problem.to_string());
        }
        let found = problem.text("message").or_else(|| {
            let error = problem.get("error")?;
            let member = |name| error.get(name).and_then(Value::as_str);
            let first = ["message", "detail", "title"].into_iter().find_map(member);
            error.as_str().or(first)
        });
        found.map(str::to_owned)
    }

    /// Creates a problem of which only a sentence is known.
    pub(crate) fn from_detail(detail: &str) -> Self {
        let detail = Value::String(detail.to_owned());
        Self {
            members: Map::from_iter([("detail".to_owned(), detail)]),
        }
    }

    /// The URI that identifies the type of the problem; `about:blank` if the server sends none.
    #[must_use]
    pub fn type_uri(&self) -> &str {
        self.text("type").unwrap_or("about:blank")
    }

    /// A short summary, the same for all problems of this type.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.text("title")
    }

    /// The status code in the problem. In the middle of a stream it differs from the response's
    /// status, which was a success.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.members.get("status")?.as_u64()?.try_into().ok()
    }

    /// A description of this occurrence.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.text("detail")
    }

    /// The URI of this occurrence.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.text("instance")
    }

    /// Returns any member: the standard's own or an extension.
    #[must_use]
    pub fn get(&self, member: &str) -> Option<&Value> {
        self.members.get(member)
    }

    /// All members as received.
    #[must_use]
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// Returns `true` if the title is only the status code's reason phrase.
    fn is_plain(&self, title: &str) -> bool {
        let status = self
            .status()
            .and_then(|status| http::StatusCode::from_u16(status).ok());
        status.is_some_and(|status| {
            let renamed = status::renamed(status.as_u16());
            [renamed, status.canonical_reason()].contains(&Some(title))
        })
    }

    /// Returns a text member. A member of the wrong type counts as absent (RFC 9457 §3.1).
    fn text(&self, member: &str) -> Option<&str> {
        self.members.get(member)?.as_str()
    }
}

/// Writes the title and the detail, as far as present. A title that only repeats the status (RFC
/// 9457 §4.2.1) is omitted if there is a detail.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.title(), self.detail()) {
            (Some(title), Some(detail)) if !self.is_plain(title) => {
                write!(f, "{}: {}", Plain(title), Plain(detail))
            }
            (_, Some(detail)) => write!(f, "{}", Plain(detail)),
            (Some(title), None) => write!(f, "{}", Plain(title)),
            (None, None) if self.members.is_empty() => f.write_str("it doesn't say why"),
            (None, None) => {
                let all = Value::Object(self.members.clone()).to_string();
                write!(f, "{}", Plain(&all))
            }
        }
    }
}

/// Text from the server, safe to print on a terminal: at most 300 characters, control characters
/// escaped.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(300) {
            if terminal::alters_text(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if chars.next().is_some() {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_any_json_error_is_found() {
        for (text, wanted) in [
            (r#"{"detail":"gone"}"#, Some("gone")),
            (
                r#"{"error":{"code":"X","message":"m"},"title":"Forbidden","detail":"no","status":403}"#,
                Some("no"),
            ),
            (
                r#"{"error":{"message":"no such model","type":"x"}}"#,
                Some("no such model"),
            ),
            (r#"{"error":"unauthorized"}"#, Some("unauthorized")),
            (r#"{"message":"Not Found"}"#, Some("Not Found")),
            (r#"{"detail":[{"loc":1}]}"#, None),
            (r#"{"error":{"code":7}}"#, None),
            ("[]", None),
            ("no JSON", None),
        ] {
            let sentence = Problem::sentence(text.as_bytes());
            assert_eq!(sentence.as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn standard_members_and_extensions_are_read() {
        let problem = Problem::from_json(
            br#"{"type":"https://example.com/quota","title":"No quota left","status":429,
                "detail":"0 of 10","instance":"/q/1","left":0}"#,
        )
        .unwrap();
        assert_eq!(problem.type_uri(), "https://example.com/quota");
        assert_eq!(problem.status(), Some(429));
        assert_eq!(problem.instance(), Some("/q/1"));
        assert_eq!(problem.get("left"), Some(&Value::from(0)));
        assert_eq!(problem.to_string(), "No quota left: 0 of 10");
    }

    #[test]
    fn a_title_that_only_repeats_the_status_is_left_out() {
        let text = br#"{"title":"Not Found","status":404,"detail":"the stream doesn't exist"}"#;
        let problem = Problem::from_json(text).unwrap();
        assert_eq!(problem.to_string(), "the stream doesn't exist");
        assert_eq!(problem.title(), Some("Not Found"));
        for title in ["Unprocessable Content", "Unprocessable Entity"] {
            let text = format!(r#"{{"title":"{title}","status":422,"detail":"no"}}"#);
            let problem = Problem::from_json(text.as_bytes()).unwrap();
            assert_eq!(problem.to_string(), "no");
        }
        let problem = Problem::from_json(br#"{"title":"Not Found","status":404}"#).unwrap();
        assert_eq!(problem.to_string(), "Not Found");
    }

    #[test]
    fn a_member_of_the_wrong_type_counts_as_absent() {
        let problem = Problem::from_json(br#"{"status":"no","title":7}"#).unwrap();
        assert_eq!((problem.title(), problem.status()), (None, None));
        assert_eq!(problem.type_uri(), "about:blank");
        assert_eq!(problem.to_string(), r#"{"status":"no","title":7}"#);
        assert_eq!(Problem::from_json(b"[1]"), None);
    }

    #[test]
    fn a_servers_message_cannot_control_the_terminal() {
        let problem = Problem::from_detail("\u{1b}[2Jgone\n");
        assert_eq!(problem.to_string(), "\\u{1b}[2Jgone\\n");
        assert_eq!(Plain(&"x".repeat(400)).to_string().chars().count(), 301);
    }
}
