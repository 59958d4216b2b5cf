//! `Cache-Control` of requests and responses (RFC 9111 §5.2), as far as it applies to a private
//! cache.

use std::time::Duration;

use http::{HeaderMap, header};

/// The directives. If one is repeated, the stricter value counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) no_store: bool,
    /// Also set if only single fields are named: the whole response is then revalidated.
    pub(super) no_cache: bool,
    pub(super) max_age: Option<Duration>,
    /// In requests: how long the response must remain fresh.
    pub(super) min_fresh: Option<Duration>,
}

impl Control {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        let mut any = false;
        for value in headers.get_all(header::CACHE_CONTROL) {
            any = true;
            for (name, value) in Directives(&String::from_utf8_lossy(value.as_bytes())) {
                control.take(&name.to_ascii_lowercase(), value);
            }
        }
        // §5.4: `Pragma` counts only without `Cache-Control`.
        if !any {
            let pragma = headers.get_all(header::PRAGMA).iter();
            control.no_cache = pragma.into_iter().any(|value| {
                let value = value.to_str().unwrap_or_default();
                value
                    .split(',')
                    .any(|one| one.trim().eq_ignore_ascii_case("no-cache"))
            });
        }
        control
    }

    fn take(&mut self, name: &str, value: &str) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "max-age" => {
                let age = seconds(value).unwrap_or_default();
                self.max_age = Some(self.max_age.map_or(age, |other| other.min(age)));
            }
            "min-fresh" => {
                let least = seconds(value).unwrap_or(Duration::MAX);
                self.min_fresh = self.min_fresh.max(Some(least));
            }
            _ => {}
        }
    }
}

/// Parses a number of seconds. One that is too large is treated as very long (§1.2.2).
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(1 << 31).min(1 << 31)))
}

/// The directives of a list, each with its value, or `""`.
struct Directives<'a>(&'a str);

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            // A comma in quotes, as in `no-cache="a, b"`, is not a separator.
            let (mut quoted, mut escaped) = (false, false);
            let end = self.0.bytes().position(|byte| {
                let is_end = byte == b',' && !quoted;
                quoted ^= byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped && quoted;
                is_end
            });
            let one = &self.0[..end.unwrap_or(self.0.len())];
            self.0 = end.map_or("", |end| &self.0[end + 1..]);
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            if !name.trim().is_empty() {
                return Some((name.trim(), value.trim().trim_matches('"')));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn control(values: &[&'static str]) -> Control {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
        }
        Control::of(&headers)
    }

    #[test]
    fn directives_are_read_in_any_case_and_with_quotes() {
        let read = control(&[
            "Max-Age=\"60\", PRIVATE ,no-cache=\"a, no-store, \\\" b\"",
            "x=,,",
        ]);
        assert_eq!(read.max_age, Some(Duration::from_secs(60)));
        assert!(read.no_cache && !read.no_store);
        assert!(control(&["private", "No-Store"]).no_store);
        assert_eq!(
            control(&["min-fresh=5"]).min_fresh,
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn of_repeated_or_invalid_directives_the_stricter_counts() {
        let age = |text| control(&[text]).max_age.unwrap().as_secs();
        assert_eq!(age("max-age=60, max-age=5"), 5);
        assert_eq!(age("max-age=soon"), 0);
        assert_eq!(age("max-age=-1"), 0);
        assert_eq!(age("max-age=99999999999999999999"), 1 << 31);
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRAGMA, HeaderValue::from_static("x, No-Cache"));
        assert!(Control::of(&headers).no_cache);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!Control::of(&headers).no_cache);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_hang_or_panic(text in "([a-z=\"\\\\, 0-9ü]|no-store|max-age=){0,40}") {
            let directives: Vec<_> = Directives(&text).collect();
            prop_assert!(directives.iter().all(|(name, _)| !name.is_empty()));
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                Control::of(&HeaderMap::from_iter([(header::CACHE_CONTROL, value)]));
            }
        }
    }
}
