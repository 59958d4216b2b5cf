//! Patterns for the paths of a URL.

use percent_encoding::percent_decode;

use headwater_wire::glob::{self, Part};

/// Maximum number of times that a path is decoded, to find each form in which a server may read it.
/// A path that is encoded more deeply matches nothing.
const MAX_DECODINGS: usize = 4;

/// A path whose segments may be `*`, any one segment, or `**`, any number of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathGlob(Vec<Part>);

impl PathGlob {
    /// Parses a path, which begins with `/`.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        if path.contains(['?', '#']) {
            return Err("a query or a fragment can't be part of it".to_owned());
        }
        // Without a reserve for more segments than there are.
        let mut parts = Vec::with_capacity(path.matches('/').count());
        for segment in path.split('/').skip(1) {
            parts.push(part(segment)?);
        }
        Ok(Self(parts))
    }

    /// Returns `true` if a URL's path matches in every way in which a server may read it: with its
    /// segments as they are, with encoded slashes and backslashes as separators, with `..`
    /// resolved, and decoded more than once. A path that servers read in different ways
    /// ([`is_ambiguous`]) never matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        let as_it_stands: Vec<Vec<u8>> = path
            .split('/')
            .skip(1)
            .map(|segment| percent_decode(segment.as_bytes()).collect())
            .collect();
        if !glob::matches(&self.0, as_it_stands.iter().map(Vec::as_slice)) {
            return false;
        }
        let mut taken: Vec<u8> = percent_decode(path.as_bytes()).collect();
        for _ in 0..MAX_DECODINGS {
            if is_ambiguous(&taken) || !glob::matches(&self.0, resolved(&taken).into_iter()) {
                return false;
            }
            let decoded: Vec<u8> = percent_decode(&taken).collect();
            if decoded == taken {
                return true;
            }
            taken = decoded;
        }
        false
    }
}

/// Parses a segment.
fn part(segment: &str) -> Result<Part, String> {
    match segment {
        "**" => Ok(Part::Any),
        "*" => Ok(Part::One),
        "." | ".." => Err("its path can't have `.` or `..` in it".to_owned()),
        mixed if mixed.contains('*') => Err(format!(
            "`*` and `**` stand for whole segments of a path, which `{mixed}` is not"
        )),
        literal => {
            let decoded: Vec<u8> = percent_decode(literal.as_bytes()).collect();
            if decoded.contains(&b'/') || decoded.contains(&b'\\') {
                return Err("its path can't have an encoded slash in it".to_owned());
            }
            Ok(Part::Exactly(decoded.into()))
        }
    }
}

/// The segments of a path as a lenient server reads them: separated by either slash, with `.`
/// removed and `..` resolved, also if parameters follow it as in `..;a=b`.
fn resolved(path: &[u8]) -> Vec<&[u8]> {
    let mut segments = Vec::new();
    let parts = path.split(|byte| matches!(byte, b'/' | b'\\'));
    for segment in parts.skip(1) {
        let end = segment.iter().position(|byte| *byte == b';');
        match &segment[..end.unwrap_or(segment.len())] {
            b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    segments
}

/// Returns `true` if servers may read a decoded path in different ways: it isn't UTF-8 (lenient
/// decoders accept overlong forms of `.` and `/`), it has a control character, or one of its
/// segments becomes a dot segment only when white space is trimmed or look-alikes are normalised
/// (Unicode NFKC).
fn is_ambiguous(path: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(path) else {
        return true;
    };
    if path.chars().any(|c| c.is_control() || is_slash_alike(c)) {
        return true;
    }
    path.split(['/', '\\']).any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        let is_dots = !name.is_empty()
            && name
                .chars()
                .all(|c| c == '.' || is_dot_alike(c) || c.is_whitespace() || is_invisible(c));
        is_dots && !matches!(name, "." | "..")
    })
}

/// Returns `true` if normalisation (NFKC, or that of host names) turns a character into dots:
/// leaders, the ellipsis, and the small, ideographic and fullwidth full stops.
fn is_dot_alike(c: char) -> bool {
    matches!(
        c,
        '\u{2024}'..='\u{2026}' | '\u{fe52}' | '\u{ff0e}' | '\u{ff61}' | '\u{3002}' | '\u{fe19}'
    )
}

/// Returns `true` if normalisation, or a best-fit conversion to a smaller character set, turns a
/// character into a slash or a backslash.
fn is_slash_alike(c: char) -> bool {
    matches!(
        c,
        '\u{ff0f}'
            | '\u{ff3c}'
            | '\u{fe68}'
            | '\u{2044}'
            | '\u{2215}'
            | '\u{2216}'
            | '\u{29f5}'
            | '\u{29f8}'
    )
}

/// Returns `true` if a character is invisible, so that software may drop it: joiners, direction
/// marks, the byte order mark, the soft hyphen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_by_whole_segments() {
        for (glob, good, bad) in [
            (
                "/v1/**",
                &[
                    "/v1",
                    "/v1/",
                    "/v1/a",
                    "/v1/a/b/c",
                    "/%76%31/a",
                    "/v1/a%2Fb",
                ][..],
                &["/", "/v10", "/V1/a", "//v1/a", "/v2/v1/a"][..],
            ),
            (
                "/v1/*/chat",
                &["/v1/a/chat", "/v1/a%20b/chat"],
                &[
                    "/v1/chat",
                    "/v1//chat",
                    "/v1/a/b/chat",
                    "/v1/a/chat/",
                    "/v1/a%2Fb/chat",
                ],
            ),
            (
                "/**/chat/**/end",
                &["/chat/end", "/a/chat/b/chat/c/end", "/chat/chat/end/end"],
                &["/chat", "/end/chat", "/chat/end/x", "/a/chats/end"],
            ),
            ("/a b", &["/a%20b"], &["/a", "/a+b"]),
            ("/**", &["/", "/a", "/../a", "/%2e%2e%2fa"], &[]),
        ] {
            let parsed = PathGlob::parse(glob).unwrap();
            for path in good {
                assert!(parsed.matches(path), "{glob} {path}");
            }
            for path in bad {
                assert!(!parsed.matches(path), "{glob} {path}");
            }
        }
    }

    #[test]
    fn a_hidden_dot_segment_never_matches() {
        let glob = PathGlob::parse("/v1/**").unwrap();
        for path in [
            "/v1/../admin",
            "/v1/..%2fadmin",
            "/v1/..%2Fadmin",
            "/v1/%2e%2e%2fadmin",
            "/v1/..%5cadmin",
            "/v1/..\\admin",
            "/v1/%252e%252e%252fadmin",
            "/v1/%25252e%25252e/admin",
            "/v1/a/..;/..;x=1/admin",
            "/v1/a%2f..%2f..%2fadmin",
            "/v1/%2e%2e/v1%2f..%2fadmin",
            "/v1/%25252525252525252e",
        ] {
            assert!(!glob.matches(path), "{path}");
        }
        assert!(glob.matches("/v1/a/../b"));
        assert!(glob.matches("/v1/100%25"));
    }

    #[test]
    fn a_path_that_servers_read_in_different_ways_never_matches() {
        let glob = PathGlob::parse("/v1/**").unwrap();
        for path in [
            "/v1/..%20/admin",
            "/v1/%20../admin",
            "/v1/.%20./admin",
            "/v1/..%00/admin",
            "/v1/a%00/admin",
            "/v1/..%09/admin",
            "/v1/a%0d%0ab",
            "/v1/a%7fb",
            "/v1/%c2%85/admin",
            "/v1/%c0%ae%c0%ae/admin",
            "/v1/%c0%afadmin",
            "/v1/a%ff",
            "/v1/%ef%bc%8e%ef%bc%8e/admin",
            "/v1/%e2%80%a5/admin",
            "/v1/%e2%80%a4./admin",
            "/v1/..%ef%bc%8fadmin",
            "/v1/%ef%b9%92%ef%b9%92/admin",
            "/v1/..%e2%80%8b/admin",
            "/v1/.../admin",
            "/v1/..%c2%a0/admin",
            "/v1/..%20;x=1/admin",
            "/v1/%2520..%2520/admin",
            "/v1/%25c0%25ae%25c0%25ae/admin",
        ] {
            assert!(!glob.matches(path), "{path}");
        }
        for path in [
            "/v1/a%20b",
            "/v1/%c3%a9t%c3%a9",
            "/v1/v1.2",
            "/v1/..a/b",
            "/v1/a..",
            "/v1/%e6%97%a5",
            "/v1/wait%e2%80%a6",
        ] {
            assert!(glob.matches(path), "{path}");
        }
    }

    #[test]
    fn many_wildcards_match_in_at_most_the_product_of_the_lengths() {
        let glob = PathGlob::parse(&format!("{}/end", "/**/a".repeat(50))).unwrap();
        assert!(!glob.matches(&"/a".repeat(1000)));
    }

    #[test]
    fn an_invalid_path_pattern_is_explained() {
        for (bad, word) in [
            ("/v1/chat*", "`chat*`"),
            ("/a/../b", "`..`"),
            ("/a%2fb", "encoded slash"),
            ("/a?b", "query"),
            ("/a#b", "fragment"),
        ] {
            let why = PathGlob::parse(bad).unwrap_err();
            assert!(why.contains(word), "{bad}: {why}");
        }
    }
}
