//! The file that `--print-config` prints.

/// All settings with their defaults.
const ALL: &str = include_str!("config.toml");

const UPSTREAM: bool = cfg!(any(feature = "gather", feature = "relay"));
const GATHER: bool = cfg!(feature = "gather");
const RELAY: bool = cfg!(feature = "relay");

/// Settings of parts that may not be built in, and whole sections of such settings.
const PARTS: [(&str, bool); 12] = [
    ("[nats]", cfg!(feature = "nats")),
    ("loopback_webhooks", cfg!(feature = "webhooks")),
    ("gathers", GATHER),
    ("gather_calls", GATHER),
    ("gather_concurrency", GATHER),
    ("gather_body_bytes", GATHER),
    ("[tls]", cfg!(feature = "tls")),
    ("[upstream]", UPSTREAM),
    ("head_timeout", RELAY),
    ("idle_timeout", RELAY),
    ("[relay]", UPSTREAM),
    ("ttl", RELAY),
];

/// Returns the settings of this build with their defaults, as a file.
pub(super) fn text() -> String {
    let (mut text, mut comment) = (String::new(), String::new());
    let mut is_in_absent = false;
    for line in ALL.split_inclusive('\n') {
        comment.push_str(line);
        let Some(name) = name(line) else { continue };
        let is_absent = PARTS.contains(&(name, false));
        if name.starts_with('[') {
            is_in_absent = is_absent;
        }
        if !is_absent && !is_in_absent {
            text.push_str(&comment);
        }
        comment.clear();
    }
    text
}

/// Returns the setting or section that a line begins. A setting without a default is in a comment.
fn name(line: &str) -> Option<&str> {
    let line = line.trim_end();
    if line.starts_with('[') {
        return Some(line);
    }
    let (name, _) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    name.chars()
        .all(|c| c.is_ascii_lowercase() || c == '_')
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_in_the_file_if_it_is_built_in() {
        let text = text();
        for (part, is_built_in) in PARTS {
            assert!(ALL.lines().any(|line| name(line) == Some(part)), "{part}");
            let is_there = text.lines().any(|line| name(line) == Some(part));
            assert_eq!(is_there, is_built_in, "{part}");
        }
    }

    #[test]
    fn a_build_with_all_parts_prints_the_whole_file() {
        if PARTS.iter().all(|(_, is_built_in)| *is_built_in) {
            assert_eq!(text(), ALL);
        }
    }
}
