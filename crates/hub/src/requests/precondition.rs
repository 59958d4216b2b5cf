//! Preconditions of requests that change something (RFC 9110 §13).

use headwater::{Operation, Problem, StatusCode};
use http::{HeaderMap, Method, header};

/// The `code` of a refusal because of a precondition.
const CODE: &str = "precondition_failed";

/// Documents the refusal of an operation that changes something.
pub(crate) fn describe(method: &str, _path: &str, operation: &mut Operation) {
    if !["get", "head"].contains(&method) {
        operation.error(
            StatusCode::PRECONDITION_FAILED,
            "The condition of `If-Match` or `If-None-Match` is false, or has an entity tag, which a change can't depend on",
        );
    }
}

/// The condition that a request depends on.
///
/// An entity tag of the hub names a range of messages, not a state that a change could be compared
/// with. So the only conditions that can be true are those that name no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    None,
    /// `PUT` with `If-None-Match: *`: nothing exists yet at the path.
    IsNew,
}

impl Precondition {
    /// Reads the preconditions of a request. Those of a safe method are left to its handler.
    ///
    /// # Errors
    /// 412: "An origin server that evaluates an If-Match condition MUST NOT perform the requested
    /// method if the condition evaluates to false" (§13.1.1), and one with a tag can't be evaluated.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Result<Self, Problem> {
        let matches = headers.contains_key(header::IF_MATCH);
        let none_match = headers.contains_key(header::IF_NONE_MATCH);
        if !(matches || none_match) || method.is_safe() {
            return Ok(Self::None);
        }
        let is_any = |name| {
            let mut values = headers.get_all(name).iter();
            values.all(|value| value.as_bytes().trim_ascii() == b"*")
        };
        let is_put = *method == Method::PUT;
        if matches && (is_put || !is_any(header::IF_MATCH)) {
            return Err(failed(
                "a change can't depend on an entity tag: leave If-Match out, and use Producer-Id, Producer-Epoch and \
                 Producer-Seq, or Stream-Seq, against appends that overtake one another",
            ));
        }
        match none_match {
            false => Ok(Self::None),
            true if is_put && is_any(header::IF_NONE_MATCH) => Ok(Self::IsNew),
            true => Err(failed(
                "a change can't depend on an entity tag: If-None-Match is `*`, with PUT, which then creates and never \
                 confirms",
            )),
        }
    }

    /// Returns the problem of a response that shows that the condition was false. A PUT for something that exists
    /// has changed nothing.
    pub(crate) fn judge(self, status: StatusCode) -> Option<Problem> {
        let is_false = self == Self::IsNew && status == StatusCode::OK;
        is_false.then(|| failed("it exists, and the request has `If-None-Match: *`"))
    }
}

fn failed(detail: &str) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED)
        .detail(detail)
        .with("code", CODE)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(method: &Method, sent: &[(header::HeaderName, &'static str)]) -> Option<Precondition> {
        let sent = sent.iter().cloned();
        let headers = sent.map(|(name, value)| (name, HeaderValue::from_static(value)));
        Precondition::of(method, &headers.collect()).ok()
    }

    #[test]
    fn a_condition_with_a_tag_refuses_a_change() {
        for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
            for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
                for tag in ["\"a\"", "W/\"a\", \"b\"", "", "*, \"a\""] {
                    let sent = [(name.clone(), tag)];
                    assert_eq!(of(&method, &sent), None, "{method} {name}: {tag}");
                }
            }
            assert_eq!(of(&method, &[]), Some(Precondition::None));
        }
        let tag = [(header::IF_MATCH, "\"a\"")];
        assert_eq!(of(&Method::GET, &tag), Some(Precondition::None));
    }

    #[test]
    fn any_is_understood_where_it_can_be_true() {
        let new = [(header::IF_NONE_MATCH, " * ")];
        assert_eq!(of(&Method::PUT, &new), Some(Precondition::IsNew));
        assert_eq!(of(&Method::POST, &new), None);
        let existing = [(header::IF_MATCH, "*")];
        assert_eq!(of(&Method::DELETE, &existing), Some(Precondition::None));
        assert_eq!(of(&Method::PUT, &existing), None);
        let is_new = Precondition::IsNew;
        assert!(is_new.judge(StatusCode::OK).is_some());
        assert!(is_new.judge(StatusCode::CREATED).is_none());
        assert!(Precondition::None.judge(StatusCode::OK).is_none());
    }
}
