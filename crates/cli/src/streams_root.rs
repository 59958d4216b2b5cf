//! The path that contains the streams of a hub.

/// The default root.
pub(crate) const DEFAULT: &str = "/streams";

/// The first path segments that the hub uses for other purposes.
const TAKEN: [&str; 7] = [
    "docs",
    "events",
    "gather",
    "healthz",
    "openapi.json",
    "readyz",
    "relay",
];

/// Parses a root. The result has a leading slash and no trailing one.
///
/// # Errors
/// The text isn't a path, or the hub uses the path for another purpose.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(
            "the root is empty: leave it out for /streams, or write / for the root of the server"
                .to_owned(),
        );
    }
    let segments: Vec<_> = match text.trim_matches('/') {
        "" => Vec::new(),
        path => path.split('/').collect(),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let is_segment = |text: &&str| !matches!(*text, "" | "." | "..") && text.chars().all(is_plain);
    if !segments.iter().all(is_segment) {
        return Err(format!(
            "{text:?} is not a root; a root is a path of letters, digits, `-`, `.`, `_` and `~`, like /v1/stream"
        ));
    }
    match segments.first() {
        Some(first) if TAKEN.contains(first) => Err(format!(
            "{text:?} can't be the root: the hub has something else at /{first}"
        )),
        _ => Ok(format!("/{}", segments.join("/"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_an_unused_path() {
        assert_eq!(parse("/v1/stream"), Ok("/v1/stream".to_owned()));
        assert_eq!(parse("v1/"), Ok("/v1".to_owned()));
        assert_eq!(parse("/"), Ok("/".to_owned()));
        for bad in [
            "",
            "/a//b",
            "/{a}",
            "/a b",
            "/..",
            "/a?b",
            "/%41",
            "/docs",
            "/events/x",
            "/relay",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
