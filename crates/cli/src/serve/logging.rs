//! The hub's log: its content and destination.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::{FilterFn, Targets},
    fmt,
    layer::SubscriberExt as _,
};

use crate::exit::Failure;

/// The names of the levels, least verbose first.
const LEVELS: &str = "off, error, warn, info, debug, trace";

/// The filter of the log.
///
/// A library's records may contain the data that it processes: h2 logs a path with its query,
/// others log URLs and headers. A level alone therefore applies only to Headwater's own parts. A
/// library's records are logged only if its crate is named, as in `h2=debug`.
#[derive(Debug)]
pub(super) struct Filter {
    levels: Targets,
    /// The crates that are named.
    named: Vec<String>,
    /// The most verbose level of any part.
    most: LevelFilter,
}

impl Filter {
    fn lets_through(&self, target: &str, level: &Level) -> bool {
        let name = crate_of(target);
        let is_own = name == "headwater" || name.starts_with("headwater_");
        let is_heard = is_own || self.named.iter().any(|named| named == name);
        is_heard && self.levels.would_enable(target, level)
    }
}

/// The crate of a record's target, which is a module path by default.
fn crate_of(target: &str) -> &str {
    target.split(':').next().unwrap_or(target)
}

/// Parses a filter: a level, or levels for parts, as in `info,headwater::access=off`.
///
/// `Targets` alone would treat an unknown level as the name of a part, and log nothing else.
///
/// # Errors
/// A piece of the filter is neither a level nor a part with its level.
pub(super) fn filter(text: &str) -> Result<Filter, String> {
    let mut filter = Targets::new();
    let mut named = Vec::new();
    let mut most = LevelFilter::OFF;
    let mut seen = |level: LevelFilter| {
        most = most.max(level);
        level
    };
    for piece in text.split(',').map(str::trim) {
        filter = match piece.split_once('=') {
            None => filter.with_default(seen(level(piece)?)),
            Some((part, of_part)) => {
                let part = part.trim();
                let is_path = part.split("::").all(|name| {
                    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
                    !name.is_empty() && name.chars().all(is_word)
                });
                if !is_path {
                    return Err(format!(
                        "{part:?} is not a part of the log; a part is like `headwater::access`"
                    ));
                }
                named.push(crate_of(part).to_owned());
                filter.with_target(part, seen(level(of_part.trim())?))
            }
        };
    }
    Ok(Filter {
        levels: filter,
        named,
        most,
    })
}

fn level(text: &str) -> Result<LevelFilter, String> {
    // Numbers, and an empty text, would also parse as levels.
    let is_name = LEVELS
        .split(", ")
        .any(|name| name.eq_ignore_ascii_case(text));
    is_name
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| format!("{text:?} is not a level; the levels are {LEVELS}"))
}

/// Validates a filter on the command line.
pub(super) fn checked(text: &str) -> Result<String, String> {
    filter(text).map(|_| text.to_owned())
}

/// Writes the log to stderr, with colours if that is a terminal and `NO_COLOR` isn't set
/// (<https://no-color.org>).
pub(super) fn start(text: &str) -> Result<(), Failure> {
    let filter =
        filter(text).map_err(|error| Failure::usage(format!("the log's filter: {error}")))?;
    let most = filter.most;
    let filter = FilterFn::new(move |record| filter.lets_through(record.target(), record.level()))
        .with_max_level_hint(most);
    let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let subscriber = fmt()
        .with_max_level(Level::TRACE)
        .with_writer(io::stderr)
        // A log that can't be written loses lines. Reports of that would go to stderr too, and panic.
        .log_internal_errors(false)
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
        assert!(info.lets_through("headwater_hub", &Level::INFO));
        assert!(!info.lets_through("headwater_hub", &Level::DEBUG));
        assert!(info.lets_through("headwater::access", &Level::WARN));
        assert!(!info.lets_through("headwater::access", &Level::INFO));
        let off = filter("off").unwrap();
        assert!(!off.lets_through("headwater", &Level::ERROR));
        assert!(filter(" debug , headwater_hub = trace ").is_ok());
    }

    #[test]
    fn a_library_is_logged_only_if_it_is_named() {
        for text in [
            "error",
            "info,headwater::access=warn",
            "debug",
            "trace",
            "trace,headwater=off",
        ] {
            let filter = filter(text).unwrap();
            for target in [
                "h2",
                "h2::server",
                "hyper_util::client::legacy",
                "rustls",
                "headwaters",
                "log",
                "",
            ] {
                assert!(
                    !filter.lets_through(target, &Level::ERROR),
                    "{text}: {target}"
                );
            }
        }
        let named = filter("info,h2::server=debug").unwrap();
        assert!(named.lets_through("h2::server", &Level::DEBUG));
        assert!(!named.lets_through("h2::server", &Level::TRACE));
        assert!(!named.lets_through("hyper", &Level::ERROR));
        assert!(named.lets_through("headwater_client::egress", &Level::INFO));
    }

    #[test]
    fn an_invalid_filter_is_refused_with_the_valid_levels() {
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
                error.contains("not a level; the levels are off") || error.contains("not a part"),
                "{bad}: {error}"
            );
        }
    }
}
