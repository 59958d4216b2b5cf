//! Variables of the environment that look like settings, and aren't.

use std::{collections::BTreeSet, env};

use clap::CommandFactory as _;

use crate::{args::Args, relay, token};

/// The beginning of the names of Headwater's variables.
const PREFIX: &str = "HEADWATER_";

/// Similarity from which a known name is suggested. clap has the same for options.
const SIMILAR: f64 = 0.7;

/// Warns of variables that no command reads. An unknown name is likely a typo, but it may also belong
/// to another program, so it isn't an error.
pub(super) fn warn() {
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for (name, nearest) in unknown(&names.collect()) {
        let hint = nearest.map(|nearest| format!("; did you mean {nearest}?"));
        tracing::warn!(
            "the environment has {name}, which isn't a setting of Headwater{}",
            hint.unwrap_or_default()
        );
    }
}

/// Returns the names with Headwater's prefix that no command reads, each with the known name that is
/// similar to it.
fn unknown(names: &BTreeSet<String>) -> Vec<(String, Option<String>)> {
    let known = known();
    // Kubernetes sets these in every container for a service named `headwater` or `headwater-…`.
    let services: Vec<_> = names
        .iter()
        .filter_map(|name| name.strip_suffix("_SERVICE_HOST"))
        .flat_map(|service| [format!("{service}_SERVICE_"), format!("{service}_PORT")])
        .collect();
    let is_unknown = |name: &String| {
        name.starts_with(PREFIX)
            && !known.contains(name)
            && !services.iter().any(|service| name.starts_with(service))
    };
    let unknown = names.iter().filter(|name| is_unknown(name));
    unknown
        .map(|name| (name.clone(), nearest(name, &known)))
        .collect()
}

/// Returns the known name that is most similar to a name, if one is similar. They are compared without
/// the prefix, which they share.
fn nearest(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let similarity = |known: &String| strsim::jaro(&name[PREFIX.len()..], &known[PREFIX.len()..]);
    let best = known
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > SIMILAR).then(|| best.clone())
}

/// The variables that the commands read: those of their options, and those without an option.
fn known() -> BTreeSet<String> {
    let mut known: BTreeSet<_> = [token::TOKEN, token::TOKEN_FILE, relay::SECRET]
        .map(str::to_owned)
        .into();
    let mut commands = vec![Args::command()];
    while let Some(command) = commands.pop() {
        let variables = command.get_arguments().filter_map(clap::Arg::get_env);
        known.extend(variables.map(|name| name.to_string_lossy().into_owned()));
        commands.extend(command.get_subcommands().cloned());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N: usize>(names: [&str; N], expected: &[(&str, Option<&str>)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, nearest)| ((*name).to_owned(), nearest.map(str::to_owned)))
            .collect();
        assert_eq!(unknown(&names.map(str::to_owned).into()), expected);
    }

    #[test]
    fn a_misspelt_variable_is_found_with_the_nearest_known_one() {
        check(
            [
                "HEADWATER_LISTN",
                "HEADWATER_ALLOW_HOSTS",
                "HEADWATER_QQQQ",
                "HEADWATER_",
                "PATH",
            ],
            &[
                ("HEADWATER_", None),
                ("HEADWATER_ALLOW_HOSTS", Some("HEADWATER_ALLOW_HOST")),
                ("HEADWATER_LISTN", Some("HEADWATER_LISTEN")),
                ("HEADWATER_QQQQ", None),
            ],
        );
    }

    #[test]
    fn variables_of_any_command_are_known() {
        check(
            [
                "HEADWATER_LISTEN",
                "HEADWATER_HUB",
                "HEADWATER_TOKEN",
                "HEADWATER_TOKEN_FILE",
                "HEADWATER_RELAY_SECRET",
                "HEADWATER_KEYS",
                "HEADWATER_LOG",
            ],
            &[],
        );
    }

    #[test]
    fn variables_of_a_kubernetes_service_are_not_taken_for_settings() {
        let service = [
            "HEADWATER_SERVICE_HOST",
            "HEADWATER_SERVICE_PORT_HTTP",
            "HEADWATER_PORT",
            "HEADWATER_PORT_8000_TCP_ADDR",
            "HEADWATER_A_SERVICE_HOST",
            "HEADWATER_A_PORT",
        ];
        check(service, &[]);
        check(["HEADWATER_PORT"], &[("HEADWATER_PORT", None)]);
    }
}
