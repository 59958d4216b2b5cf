use std::{
    fmt,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanCount, ProgressBar};

use crate::progress::{EVERY, Figure, spinner};

/// Reports progress on stderr: live on a terminal, and in one line at the end.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    told: Instant,
    raw: bool,
}

impl Progress {
    /// Starts the progress. With `raw` there are no items to count.
    pub(crate) fn start(raw: bool) -> Self {
        Self::with_bar(raw, std::io::stderr().is_terminal())
    }

    /// Reports only at the end, because a bar would disturb typed input.
    pub(crate) fn at_the_end() -> Self {
        Self::with_bar(false, false)
    }

    fn with_bar(raw: bool, is_shown: bool) -> Self {
        let bar = spinner(is_shown);
        bar.set_message("waiting for the first item");
        let now = Instant::now();
        Self {
            bar,
            started: now,
            told: now,
            raw,
        }
    }

    pub(crate) fn tell(&mut self, items: u64, bytes: u64) {
        if self.told.elapsed() >= EVERY && !self.bar.is_hidden() {
            self.told = Instant::now();
            self.bar.set_message(self.summary(items, bytes).to_string());
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn note(&self, line: &str) {
        self.bar.suspend(|| report!("{line}"));
    }

    /// Removes the bar and prints a summary.
    pub(crate) fn finish(&self, items: u64, bytes: u64) {
        self.bar.finish_and_clear();
        report!("{}", self.summary(items, bytes));
    }

    fn summary(&self, items: u64, bytes: u64) -> Summary {
        Summary {
            items: (!self.raw).then_some(items),
            bytes,
            time: self.started.elapsed(),
        }
    }
}

struct Summary {
    items: Option<u64>,
    bytes: u64,
    time: Duration,
}

impl fmt::Display for Summary {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are shown with three digits"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        let rate = |count: u64| count as f64 / seconds.max(0.001);
        if let Some(items) = self.items {
            let plural = if items == 1 { "" } else { "s" };
            write!(f, "{} item{plural}, ", HumanCount(items))?;
        }
        write!(f, "{} in {seconds:.1} s", HumanBytes(self.bytes))?;
        if let Some(items) = self.items {
            write!(f, ", {} items/s", Figure(rate(items)))?;
        }
        write!(f, ", {}/s", HumanBytes(rate(self.bytes) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_items_bytes_time_and_rate() {
        let time = Duration::from_millis(2500);
        let summary = Summary {
            items: Some(12_345),
            bytes: 5 << 20,
            time,
        };
        assert_eq!(
            summary.to_string(),
            "12,345 items, 5.00 MiB in 2.5 s, 4,938 items/s, 2.00 MiB/s"
        );
        let summary = Summary {
            items: None,
            bytes: 10,
            time: Duration::from_secs(1),
        };
        assert_eq!(summary.to_string(), "10 B in 1.0 s, 10 B/s");
    }
}
