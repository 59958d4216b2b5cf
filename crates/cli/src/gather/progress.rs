use std::{
    fmt,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use headwater_client::gather::Progress;
use indicatif::{HumanCount, HumanDuration, ProgressBar};

use super::input::Watch;
use crate::progress::{EVERY, Figure, set_style, spinner};

/// The time span over which the rate is measured.
const WINDOW: Duration = Duration::from_secs(5);

/// Reports progress on stderr: live on a terminal, and in one line at the end.
pub(super) struct Bar {
    bar: ProgressBar,
    quiet: bool,
    /// `true` if the results also go to a terminal.
    shared: bool,
    started: Instant,
    told: Option<Instant>,
    rate: Rate,
    has_total: bool,
}

impl Bar {
    pub(super) fn new(quiet: bool, shared: bool) -> Self {
        let bar = spinner(std::io::stderr().is_terminal() && !quiet);
        let started = Instant::now();
        Self {
            bar,
            quiet,
            shared,
            started,
            told: None,
            rate: Rate::new(started),
            has_total: false,
        }
    }

    pub(super) fn tell(&mut self, progress: Progress, watch: &Watch) {
        let now = Instant::now();
        let is_due = self
            .told
            .is_none_or(|told| now.duration_since(told) >= EVERY);
        if self.bar.is_hidden() || !is_due {
            return;
        }
        self.told = Some(now);
        let rate = self.rate.at(now, progress.done);
        // The results of an earlier run count, so that the bar starts where that run stopped.
        let done = progress.done + watch.made_earlier();
        let total = watch.total();
        if let Some(total) = total {
            if !self.has_total {
                self.has_total = true;
                set_style(&self.bar, "{spinner} {bar:24} {percent:>3}%  {msg}");
            }
            self.bar.set_length(total);
            self.bar.set_position(done);
        }
        let left = total.map(|total| total.saturating_sub(done));
        let message = Message {
            progress,
            done,
            rate,
            left,
        };
        self.bar.set_message(message.to_string());
    }

    /// Writes results while the bar is hidden, if both are on a terminal.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.shared {
            self.bar.suspend(write)
        } else {
            write()
        }
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Removes the bar and prints a summary.
    pub(super) fn finish(&self, progress: Progress, watch: &Watch) {
        self.bar.finish_and_clear();
        if self.quiet {
            return;
        }
        let summary = Summary {
            done: progress.done,
            failed: progress.failed,
            made_earlier: watch.made_earlier(),
            time: self.started.elapsed(),
        };
        report!("{summary}");
    }
}

/// The recent number of results per second.
struct Rate {
    /// The counts at two times. The rate is measured from the older one, which is one to two
    /// windows old.
    older: (Instant, u64),
    newer: (Instant, u64),
}

impl Rate {
    fn new(start: Instant) -> Self {
        Self {
            older: (start, 0),
            newer: (start, 0),
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "rates are shown with three digits"
    )]
    fn at(&mut self, now: Instant, done: u64) -> f64 {
        if now.duration_since(self.newer.0) >= WINDOW {
            self.older = std::mem::replace(&mut self.newer, (now, done));
        }
        let seconds = now.duration_since(self.older.0).as_secs_f64();
        (done - self.older.1) as f64 / seconds.max(0.1)
    }
}

/// The text next to the bar.
struct Message {
    progress: Progress,
    /// Includes the results of an earlier run.
    done: u64,
    rate: f64,
    left: Option<u64>,
}

impl fmt::Display for Message {
    #[allow(clippy::cast_precision_loss, reason = "times are shown in seconds")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.progress;
        write!(f, "{} done", HumanCount(self.done))?;
        if progress.failed > 0 {
            write!(f, " ({} failed)", HumanCount(progress.failed))?;
        }
        write!(
            f,
            ", {} in flight, {}/s",
            progress.in_flight,
            Figure(self.rate)
        )?;
        match self.left {
            Some(left) if left > 0 && self.rate > 0.0 => {
                let seconds = left as f64 / self.rate;
                match Duration::try_from_secs_f64(seconds) {
                    Ok(time) => write!(f, ", {} left", HumanDuration(time)),
                    Err(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

struct Summary {
    done: u64,
    failed: u64,
    made_earlier: u64,
    time: Duration,
}

impl fmt::Display for Summary {
    #[allow(
        clippy::cast_precision_loss,
        reason = "rates are shown with three digits"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        let plural = if self.done == 1 { "" } else { "s" };
        write!(
            f,
            "{} call{plural}, {} failed",
            HumanCount(self.done),
            HumanCount(self.failed)
        )?;
        let rate = self.done as f64 / seconds.max(0.001);
        write!(f, ", in {seconds:.1} s, {}/s", Figure(rate))?;
        match self.made_earlier {
            0 => Ok(()),
            earlier => write!(f, "; {} were made earlier", HumanCount(earlier)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_calls_failures_time_and_rate() {
        let mut summary = Summary {
            done: 12_345,
            failed: 5,
            made_earlier: 0,
            time: Duration::from_millis(2500),
        };
        assert_eq!(
            summary.to_string(),
            "12,345 calls, 5 failed, in 2.5 s, 4,938/s"
        );
        summary.made_earlier = 1000;
        summary.done = 1;
        assert_eq!(
            summary.to_string(),
            "1 call, 5 failed, in 2.5 s, 0.4/s; 1,000 were made earlier"
        );
    }

    #[test]
    fn the_rate_is_the_recent_one() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!((rate.at(at(1), 100) - 100.0).abs() < 1e-6);
        for seconds in 2..=30 {
            rate.at(at(seconds), 100);
        }
        assert!(rate.at(at(31), 100).abs() < 1e-6);
    }
}
