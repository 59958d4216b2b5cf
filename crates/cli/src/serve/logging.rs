//! What the hub logs, and where to.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt as _};

use crate::exit::Failure;

/// The names of the levels, least first.
const LEVELS: &str = "off, error, warn, info, debug, trace";

/// Reads a filter: a level, or levels for parts, `info,headwater::access=off`.
///
/// `Targets` alone takes a word that is no level for the name of a part, and logs nothing else.
///
/// # Errors
/// A piece of it is no level, and not the level of a part.
pub(super) fn filter(text: &str) -> Result<Targets, String> {
    let mut filter = Targets::new();
    for piece in text.split(',').map(str::trim) {
        filter = match piece.split_once('=') {
            None => filter.with_default(level(piece)?),
            Some((part, of_part)) => {
                let part = part.trim();
                let is_path = part.split("::").all(|name| {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
                    !name.is_empty() && name.chars().all(is_word)
                });
                if !is_path {
                    return Err(format!(
                        "{part:?} is no part: one is like `headwater::access`"
                    ));
                }
                filter.with_target(part, level(of_part.trim())?)
            }
        };
    }
    Ok(filter)
}

fn level(text: &str) -> Result<LevelFilter, String> {
    // Numbers, and an empty text, would be levels too.
    let is_name = LEVELS
        .split(", ")
        .any(|name| name.eq_ignore_ascii_case(text));
    is_name
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| format!("{text:?} is no level; there are {LEVELS}"))
}

/// Checks a filter on the command line.
pub(super) fn checked(text: &str) -> Result<String, String> {
    filter(text).map(|_| text.to_owned())
}

/// Has the log written to stderr, with colours if that is a terminal and its user has nothing against them
/// (<https://no-color.org>).
pub(super) fn start(text: &str) -> Result<(), Failure> {
    let filter =
        filter(text).map_err(|error| Failure::usage(format!("the log's filter: {error}")))?;
    let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let subscriber = fmt()
        .with_max_level(Level::TRACE)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !is_plain)
        .finish()
        .with(filter);
    tracing::subscriber::set_global_default(subscriber).map_err(Failure::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_and_levels_of_parts() {
        let info = filter("info,headwater::access=WARN").unwrap();
        assert!(info.would_enable("headwater_hub", &Level::INFO));
        assert!(!info.would_enable("headwater_hub", &Level::DEBUG));
        assert!(info.would_enable("headwater::access", &Level::WARN));
        assert!(!info.would_enable("headwater::access", &Level::INFO));
        assert!(!filter("off").unwrap().would_enable("x", &Level::ERROR));
        assert!(filter(" debug , headwater_hub = trace ").is_ok());
    }

    #[test]
    fn what_is_neither_is_refused_with_what_there_is() {
        for bad in [
            "",
            "loud",
            "infoo",
            "5",
            "info,",
            ",info",
            "headwater=loud",
            "headwater=",
            "=info",
            "headwater::=info",
            "headwater access=info",
            "info;debug",
            "headwater=info=debug",
        ] {
            let error = filter(bad).unwrap_err();
            assert!(
                error.contains("no level; there are off") || error.contains("no part"),
                "{bad}: {error}"
            );
        }
    }
}
