//! The default log, on stderr, of an app that has not configured one.

use std::{env, io, io::IsTerminal as _};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::{FilterFn, Targets},
    fmt,
    layer::SubscriberExt as _,
};

/// Environment variables that may contain a filter. The first one that is set is used.
const VARIABLES: [&str; 2] = ["HEADWATER_LOG", "RUST_LOG"];

/// Target names of the libraries that carry requests. Their records may contain request data: a
/// path with its query, a URL, a header. They are shown only if a filter names them, as in
/// `h2=debug`.
const CARRIERS: [&str; 16] = [
    "axum",
    "axum_core",
    "h2",
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "log",
    "mio",
    "quinn",
    "quinn_proto",
    "reqwest",
    "rustls",
    "tokio",
    "tokio_rustls",
    "tokio_util",
    "tower",
];

/// Sets a global subscriber that writes to stderr, unless the process has a subscriber.
pub(super) fn set_up() {
    if tracing::dispatcher::has_been_set() {
        return;
    }
    let (filter, fault) = filter(|name| env::var(name).ok());
    let subscriber = fmt()
        .with_max_level(Level::TRACE)
        .with_writer(io::stderr)
        // A log that can't be written loses lines. Reports of that would go to stderr too, and panic.
        .log_internal_errors(false)
        .with_ansi(is_coloured())
        .finish()
        .with(filter.layer());
    // Another thread may have set one in the meantime.
    if tracing::subscriber::set_global_default(subscriber).is_ok()
        && let Some(fault) = fault
    {
        tracing::warn!("{fault}; logging at the level info");
    }
}

/// Returns `true` if stderr is a terminal and `NO_COLOR` is not set (<https://no-color.org>).
fn is_coloured() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The filter of the log: levels by target. [`CARRIERS`] are excluded unless named.
#[derive(Debug)]
struct Filter(Targets);

impl Filter {
    fn lets_through(&self, target: &str, level: &Level) -> bool {
        let name = crate_of(target);
        let is_named = || self.0.iter().any(|(named, _)| crate_of(named) == name);
        self.0.would_enable(target, level) && (!CARRIERS.contains(&name) || is_named())
    }

    fn layer(self) -> FilterFn<impl Fn(&tracing::Metadata<'_>) -> bool> {
        let levels = self.0.iter().map(|(_, level)| level);
        let most = levels.chain(self.0.default_level()).max();
        FilterFn::new(move |record: &tracing::Metadata<'_>| {
            self.lets_through(record.target(), record.level())
        })
        .with_max_level_hint(most.unwrap_or(LevelFilter::OFF))
    }
}

/// Returns the crate of a record's target, which is a module path by default.
fn crate_of(target: &str) -> &str {
    target.split(':').next().unwrap_or(target)
}

/// Returns the filter that the environment sets, by default INFO. If it is invalid, returns the
/// default and the fault.
fn filter(variable: impl Fn(&str) -> Option<String>) -> (Filter, Option<String>) {
    let info = || Filter(Targets::new().with_default(Level::INFO));
    let set = VARIABLES.into_iter().find_map(|name| {
        let value = variable(name).filter(|value| !value.trim().is_empty())?;
        Some((name, value))
    });
    let Some((name, value)) = set else {
        return (info(), None);
    };
    match value.parse() {
        Ok(filter) => (Filter(filter), None),
        Err(error) => (info(), Some(format!("{name} is not a filter: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], enabled: Level, disabled: Level, has_fault: bool) {
        let (filter, fault) = filter(|name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        });
        assert!(filter.lets_through("headwater", &enabled), "{variables:?}");
        assert!(
            !filter.lets_through("headwater", &disabled),
            "{variables:?}"
        );
        assert_eq!(fault.is_some(), has_fault, "{variables:?}");
    }

    #[test]
    fn the_environment_sets_the_level_and_info_is_the_default() {
        let (warn, info, debug) = (Level::WARN, Level::INFO, Level::DEBUG);
        check(&[], info, debug, false);
        check(&[("RUST_LOG", "")], info, debug, false);
        check(&[("RUST_LOG", "warn")], warn, info, false);
        let both = [("HEADWATER_LOG", "headwater=debug"), ("RUST_LOG", "error")];
        check(&both, debug, Level::TRACE, false);
        check(&[("RUST_LOG", "headwater=loud")], info, debug, true);
    }

    #[test]
    fn carriers_are_logged_only_if_named() {
        let of = |text: &str| filter(|_| Some(text.to_owned())).0;
        for text in ["", "info", "debug", "trace", "trace,my_app=debug"] {
            let filter = of(text);
            for target in CARRIERS
                .into_iter()
                .chain(["h2::server", "hyper_util::client::legacy"])
            {
                assert!(
                    !filter.lets_through(target, &Level::ERROR),
                    "{text}: {target}"
                );
            }
            for app in [
                "my_app",
                "axum_example",
                "hyperion::db",
                "tower_defense",
                "headwater::serve",
            ] {
                assert!(filter.lets_through(app, &Level::INFO), "{text}: {app}");
            }
        }
        let named = of("info,h2::server=debug");
        assert!(named.lets_through("h2::server", &Level::DEBUG));
        assert!(!named.lets_through("h2::server", &Level::TRACE));
        assert!(!named.lets_through("hyper", &Level::ERROR));
    }
}
