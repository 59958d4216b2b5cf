//! Settings of tests that repeat rounds, from the environment.

use std::str::FromStr;

/// Returns the number in a variable of the environment.
pub(crate) fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Returns random numbers, whose seed is printed and can be set.
#[allow(clippy::print_stdout, reason = "the report of a failed test shows it")]
pub(crate) fn random() -> fastrand::Rng {
    let seed = setting("HEADWATER_LOG_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("HEADWATER_LOG_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
