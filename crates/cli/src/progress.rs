//! The parts of a command's progress on a terminal.

use std::{fmt, time::Duration};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// Minimum interval between updates, as often as a person can read.
pub(crate) const EVERY: Duration = Duration::from_millis(100);

/// Returns a spinner with a message, or a hidden one.
pub(crate) fn spinner(is_shown: bool) -> ProgressBar {
    if !is_shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    set_style(&bar, "{spinner} {msg}");
    bar.enable_steady_tick(EVERY);
    bar
}

pub(crate) fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
}

/// A rate, formatted for people.
pub(crate) struct Figure(pub(crate) f64);

impl fmt::Display for Figure {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is over a hundred, and shown in whole numbers"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate < 100.0 => write!(f, "{rate:.1}"),
            rate => write!(f, "{}", HumanCount(rate as u64)),
        }
    }
}
