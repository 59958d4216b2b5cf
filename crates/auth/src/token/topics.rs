//! The streams of Mercure's topics.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::KeyError;
use super::selector::{self, Token};
use crate::StreamPattern;
use crate::limits::PATTERN_BYTES;

/// The mapping of Mercure's topics to names of streams.
///
/// | topic | stream |
/// |---|---|
/// | `books/1` | `books/1` |
/// | `/books/a%20b` | `books/a b` |
/// | `https://hub.example.com/streams/books/1` | `books/1`, if `https://hub.example.com/streams/` is a [root](Self::root) |
/// | any other URL | none |
///
/// Roots are compared byte for byte. In a URL or a path, the segments are percent-decoded. One that
/// contains an encoded slash, or isn't UTF-8, is of no stream.
///
/// The selectors in a token's claims are mapped in the same way, so the grants of a token agree with the
/// names that [`stream`](Self::stream) returns:
///
/// | selector | matches |
/// |---|---|
/// | `*` | every stream |
/// | Mercure 0.x: text without `{`; 1.0: `exact` | the stream of this topic |
/// | 0.x: `{name}` in a segment, once | one or more characters except `/` |
/// | 0.x: `{+name}` as a whole segment | one or more segments |
/// | 0.x: `{/name*}` at the end of a segment | any number of further segments |
/// | 1.0, `urlpattern`: `:name` in a segment, once | one or more characters except `/` |
/// | 1.0, `urlpattern`: `*` as a whole segment | one or more segments |
///
/// A selector of topics that have no stream grants nothing. Any other expression of RFC 6570 or of the
/// URL Pattern standard makes the token invalid.
#[derive(Clone, Debug, Default)]
pub struct TopicNames {
    roots: Vec<Box<str>>,
}

impl TopicNames {
    /// Makes a mapping without roots, by which URLs have no streams.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a root: the URL under which the topics of streams are.
    ///
    /// # Errors
    /// It isn't an absolute URL that ends with a slash, or has characters that don't belong into one.
    pub fn root(mut self, url: &str) -> Result<Self, KeyError> {
        let after = url.split_once("://").map(|(_, after)| after);
        let is_root = after.is_some_and(|after| after.ends_with('/') && !after.starts_with('/'));
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"{}*?#\\\"<>^`|".contains(&byte);
        if !is_root || !url.bytes().all(is_plain) || url.len() > PATTERN_BYTES {
            return Err(KeyError::new(format!(
                "{url:?} is not the root of topics, which is a URL that ends with a slash, such as \
                 https://hub.example.com/streams/"
            )));
        }
        self.roots.push(url.into());
        Ok(self)
    }

    /// Returns the name of a topic's stream, or `None` if the topic has none.
    ///
    /// The result isn't checked as a stream's name: it may contain characters that no stream's name
    /// has.
    #[must_use]
    pub fn stream<'a>(&self, topic: &'a str) -> Option<Cow<'a, str>> {
        let place = self.place(topic)?;
        if !place.is_encoded || !place.path.contains('%') {
            let has_empty = place.path.split('/').any(str::is_empty);
            return (!has_empty).then_some(Cow::Borrowed(place.path));
        }
        let segments = place.path.split('/').map(decode);
        let segments = segments.collect::<Option<Vec<_>>>()?;
        Some(Cow::Owned(segments.join("/")))
    }

    /// Returns the pattern of an exact matcher.
    pub(super) fn exact(&self, text: &str) -> Result<Option<StreamPattern>, String> {
        if text == "*" {
            return Ok(Some(StreamPattern::everything()));
        }
        if text.len() > PATTERN_BYTES {
            return Err(format!("a topic has more than {PATTERN_BYTES} bytes"));
        }
        Ok(self.stream(text).map(|name| StreamPattern::of_name(&name)))
    }

    /// Returns the pattern of a selector of Mercure 0.x.
    pub(super) fn selector(&self, text: &str) -> Result<Option<StreamPattern>, String> {
        match text.contains('{') {
            true => self.pattern(text, selector::template),
            false => self.exact(text),
        }
    }

    /// Returns the pattern of a URL pattern of Mercure 1.0.
    pub(super) fn url_pattern(&self, text: &str) -> Result<Option<StreamPattern>, String> {
        match text {
            "*" => self.exact(text),
            text => self.pattern(text, selector::url_pattern),
        }
    }

    fn pattern(
        &self,
        text: &str,
        parse: fn(&str) -> Result<Vec<Token<'_>>, String>,
    ) -> Result<Option<StreamPattern>, String> {
        if text.len() > PATTERN_BYTES {
            return Err(format!(
                "a topic selector has more than {PATTERN_BYTES} bytes"
            ));
        }
        match self.place(text) {
            Some(place) => selector::pattern(&parse(place.path)?, place.is_encoded),
            None => Ok(None),
        }
    }

    fn place<'a>(&self, text: &'a str) -> Option<Place<'a>> {
        let encoded = |path| Place {
            path,
            is_encoded: true,
        };
        let mut under = self.roots.iter().map(|root| text.strip_prefix(&**root));
        if let Some(path) = under.find_map(|path| path) {
            return Some(encoded(path));
        }
        if let Some(path) = text.strip_prefix('/') {
            return Some(encoded(path));
        }
        // A URL of another host, which is no stream of this one.
        let is_url = text
            .split('/')
            .next()
            .is_some_and(|head| head.ends_with(':'));
        let plain = Place {
            path: text,
            is_encoded: false,
        };
        (!is_url).then_some(plain)
    }
}

/// A topic or selector without the root.
struct Place<'a> {
    path: &'a str,
    is_encoded: bool,
}

/// Decodes a segment of a path. Returns `None` if no stream's name has such a segment.
pub(super) fn decode(segment: &str) -> Option<Cow<'_, str>> {
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    (!decoded.is_empty() && !decoded.contains('/')).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> TopicNames {
        TopicNames::new()
            .root("https://hub.example/streams/")
            .unwrap()
    }

    #[test]
    fn a_topic_under_a_root_or_without_a_host_has_a_stream() {
        for (topic, stream) in [
            ("books/1", Some("books/1")),
            ("/books/1", Some("books/1")),
            ("https://hub.example/streams/books/1", Some("books/1")),
            ("https://hub.example/streams/a%20b", Some("a b")),
            ("a%20b", Some("a%20b")),
            ("urn:uuid:1", Some("urn:uuid:1")),
            ("https://hub.example/streams/a%2Fb", None),
            ("https://hub.example/streams/a%FF", None),
            ("https://hub.example/streams/", None),
            ("https://hub.example/other/1", None),
            ("https://hub.example.evil/streams/1", None),
            ("//hub.example/streams/1", None),
            ("a//b", None),
            ("", None),
        ] {
            assert_eq!(names().stream(topic).as_deref(), stream, "{topic}");
        }
    }

    #[test]
    fn a_root_is_a_url_with_a_slash_at_its_end() {
        for bad in [
            "",
            "/",
            "https://",
            "https:///",
            "https://a",
            "https://a/{b}/",
            "https://a/?/",
        ] {
            assert!(TopicNames::new().root(bad).is_err(), "{bad}");
        }
    }

    /// Checks which of the names a pattern matches.
    fn check(pattern: Result<Option<StreamPattern>, String>, met: &[&str], unmet: &[&str]) {
        let pattern = pattern.unwrap().unwrap();
        for name in met {
            assert!(pattern.matches(name), "{pattern} {name}");
            assert!(name.starts_with(pattern.prefix()), "{pattern} {name}");
        }
        for name in unmet {
            assert!(!pattern.matches(name), "{pattern} {name}");
        }
    }

    #[test]
    fn templates_match_as_mercure_defines_them() {
        let template = |text: &str| names().selector(text);
        check(template("*"), &["a", "a/b"], &[]);
        check(template("a/*"), &["a/*"], &["a/b"]);
        check(
            template("books/{id}"),
            &["books/1"],
            &["books", "books/1/2", "books/"],
        );
        check(
            template("books/b-{id}.json"),
            &["books/b-1.json"],
            &["books/b-.json", "books/1"],
        );
        check(template("/{+all}"), &["a", "a/b"], &[]);
        check(
            template("a/{+all}/z"),
            &["a/b/z", "a/b/c/z"],
            &["a/z", "a/b"],
        );
        check(
            template("books{/rest*}"),
            &["books", "books/1/2"],
            &["booksx"],
        );
        check(
            template("https://hub.example/streams/a%20b/{id}"),
            &["a b/1"],
            &["a%20b/1"],
        );
        assert_eq!(template("https://other.example/{id}"), Ok(None));
        assert_eq!(template("https://{host}/streams/a"), Ok(None));
        assert_eq!(template("a//{id}"), Ok(None));
        assert_eq!(template("a%2Fb/{id}/").unwrap(), None);
    }

    #[test]
    fn other_templates_are_refused() {
        for bad in [
            "a/{?q}", "a/{/one}", "a/{a,b}", "a/{a:3}", "a/{a*}", "a/{#f}", "a/{.x}", "a/{;x}",
            "a/{&x}", "a/{}", "a/{", "a/{x", "a/{x}{y}", "a/}{x}", "a/b{+x}", "a/{+x}b", "a{/x*}b",
            "a/{{x}}", "a/{x y}",
        ] {
            assert!(names().selector(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn url_patterns_match_as_their_standard_defines_them() {
        let pattern = |text: &str| names().url_pattern(text);
        check(pattern("*"), &["a", "a/b"], &[]);
        check(pattern("/books/:id"), &["books/1"], &["books", "books/1/2"]);
        check(
            pattern("/books/:id.json"),
            &["books/1.json"],
            &["books/.json", "books/1"],
        );
        check(pattern("/books/*"), &["books/1", "books/1/2"], &["books"]);
        check(pattern("/books/1"), &["books/1"], &["books/2"]);
        check(
            pattern("https://hub.example/streams/:a/x"),
            &["b/x"],
            &["b/y"],
        );
        assert_eq!(pattern("https://*.example/x"), Ok(None));
        for bad in [
            "/a/:id(\\d+)",
            "/a{/:x}?",
            "/a/:x?",
            "/a/:x*",
            "/a/:x+",
            "/a/b*",
            "/a/:",
            "/a/:1",
            "/a/(b)",
            "/a\\:b",
            "/a/:x:y",
            "/a?b",
            "/a#b",
        ] {
            assert!(names().url_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_size_of_a_selector_is_limited() {
        let of = |bytes: usize| format!("{}{{x}}", "a".repeat(bytes - 3));
        assert!(names().selector(&of(PATTERN_BYTES)).is_ok());
        assert!(names().selector(&of(PATTERN_BYTES + 1)).is_err());
        assert!(names().exact(&"a".repeat(PATTERN_BYTES)).is_ok());
        assert!(names().exact(&"a".repeat(PATTERN_BYTES + 1)).is_err());
        let many = format!("{}{{x}}", "a/".repeat(crate::limits::PATTERN_SEGMENTS));
        assert!(names().selector(&many).is_err());
        assert!(names().selector(&many[2..]).is_ok());
    }
}
