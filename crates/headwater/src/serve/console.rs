//! The log of an app that has set up none: on stderr, as a developer wants it in the first minute.

use std::{env, io, io::IsTerminal as _};

use tracing::Level;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt as _};

/// The variables that may hold a filter. The first one that is set counts.
const VARIABLES: [&str; 2] = ["HEADWATER_LOG", "RUST_LOG"];

/// Sets a global subscriber that writes to stderr, unless the process has one.
pub(super) fn set_up() {
    if tracing::dispatcher::has_been_set() {
        return;
    }
    let (filter, fault) = filter(|name| env::var(name).ok());
    let subscriber = fmt()
        .with_max_level(Level::TRACE)
        .with_writer(io::stderr)
        .with_ansi(is_coloured())
        .finish()
        .with(filter);
    // Another thread may have been faster.
    if tracing::subscriber::set_global_default(subscriber).is_ok()
        && let Some(fault) = fault
    {
        tracing::warn!("{fault}; logging at the level info");
    }
}

/// Whether stderr is a terminal whose user has nothing against colours (<https://no-color.org>).
fn is_coloured() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The filter that the environment asks for, or everything from INFO up, with what is wrong with the one asked for.
fn filter(variable: impl Fn(&str) -> Option<String>) -> (Targets, Option<String>) {
    let info = || Targets::new().with_default(Level::INFO);
    let set = VARIABLES.into_iter().find_map(|name| {
        let value = variable(name).filter(|value| !value.trim().is_empty())?;
        Some((name, value))
    });
    let Some((name, value)) = set else {
        return (info(), None);
    };
    match value.parse() {
        Ok(filter) => (filter, None),
        Err(error) => (info(), Some(format!("{name} is no filter: {error}"))),
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
        assert!(filter.would_enable("headwater", &enabled), "{variables:?}");
        assert!(
            !filter.would_enable("headwater", &disabled),
            "{variables:?}"
        );
        assert_eq!(fault.is_some(), has_fault, "{variables:?}");
    }

    #[test]
    fn the_environment_chooses_the_level_and_info_is_the_default() {
        let (warn, info, debug) = (Level::WARN, Level::INFO, Level::DEBUG);
        check(&[], info, debug, false);
        check(&[("RUST_LOG", "")], info, debug, false);
        check(&[("RUST_LOG", "warn")], warn, info, false);
        let both = [("HEADWATER_LOG", "headwater=debug"), ("RUST_LOG", "error")];
        check(&both, debug, Level::TRACE, false);
        check(&[("RUST_LOG", "headwater=loud")], info, debug, true);
    }
}
