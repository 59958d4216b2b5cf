use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use headwater_bench::Error;

/// The environment variable that names another NATS server than that of the packages.
pub(crate) const NATS_SERVER: &str = "HEADWATER_NATS_SERVER";

/// A part of the benchmark: a table of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Drain,
    Paced,
    Idle,
    Decode,
    Clients,
    Gather,
    Operation,
    Validate,
    Append,
    Fanout,
    HubLatency,
    HubIdle,
    Catchup,
    Scattered,
    Startup,
    Relay,
    Tls,
    Bare,
    Sorting,
    Caps,
    Cluster,
    ClusterStreams,
}

impl Part {
    const ALL: [Self; 22] = [
        Self::Drain,
        Self::Paced,
        Self::Idle,
        Self::Decode,
        Self::Clients,
        Self::Gather,
        Self::Operation,
        Self::Validate,
        Self::Append,
        Self::Fanout,
        Self::HubLatency,
        Self::HubIdle,
        Self::Catchup,
        Self::Scattered,
        Self::Startup,
        Self::Relay,
        Self::Tls,
        Self::Bare,
        Self::Sorting,
        Self::Caps,
        Self::Cluster,
        Self::ClusterStreams,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Paced => "paced",
            Self::Idle => "idle",
            Self::Decode => "decode",
            Self::Clients => "clients",
            Self::Gather => "gather",
            Self::Operation => "operation",
            Self::Validate => "validate",
            Self::Append => "append",
            Self::Fanout => "fanout",
            Self::HubLatency => "hub-latency",
            Self::HubIdle => "hub-idle",
            Self::Catchup => "catchup",
            Self::Scattered => "scattered",
            Self::Startup => "startup",
            Self::Relay => "relay",
            Self::Tls => "tls",
            Self::Bare => "bare",
            Self::Sorting => "sorting",
            Self::Caps => "caps",
            Self::Cluster => "cluster",
            Self::ClusterStreams => "cluster-streams",
        }
    }

    /// Returns `true` if it measures the hub. The other parts compare the framework with its peers,
    /// including Python's.
    pub(crate) fn is_of_hub(self) -> bool {
        match self {
            Self::Drain
            | Self::Paced
            | Self::Idle
            | Self::Decode
            | Self::Clients
            | Self::Gather
            | Self::Operation
            | Self::Validate => false,
            Self::Append
            | Self::Fanout
            | Self::HubLatency
            | Self::HubIdle
            | Self::Catchup
            | Self::Scattered
            | Self::Startup
            | Self::Relay
            | Self::Tls
            | Self::Bare
            | Self::Sorting
            | Self::Caps
            | Self::Cluster
            | Self::ClusterStreams => true,
        }
    }

    /// Returns `true` if it needs the packages of Python. One of them is the NATS server.
    pub(crate) fn needs_python(self) -> bool {
        let is_on_cluster = matches!(self, Self::Cluster | Self::ClusterStreams);
        let has_server = is_on_cluster && std::env::var_os(NATS_SERVER).is_none();
        !self.is_of_hub() || has_server
    }

    /// Returns `true` if it compares the hub with other servers that have to be installed.
    pub(crate) fn has_peers_of_hub(self) -> bool {
        let is_alone = matches!(
            self,
            Self::Relay
                | Self::Tls
                | Self::Bare
                | Self::Sorting
                | Self::Caps
                | Self::Cluster
                | Self::ClusterStreams
        );
        self.is_of_hub() && !is_alone
    }
}

/// The command-line options.
pub(crate) struct Options {
    /// If `true`, smaller counts and fewer runs, for a functional test, not for comparisons.
    pub(crate) quick: bool,
    pub(crate) parts: Vec<Part>,
    /// Number of repetitions of each short measurement.
    pub(crate) runs: usize,
    /// Name of the results, after the date.
    pub(crate) name: String,
    /// The arguments as given.
    pub(crate) given: Vec<String>,
}

impl Options {
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, Error> {
        let given: Vec<String> = args.collect();
        let mut args = given.iter();
        let (mut quick, mut parts, mut runs, mut name) = (false, Vec::new(), None, None);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => quick = true,
                "--only" => {
                    for wanted in value()?.split(',') {
                        let part = Part::ALL.into_iter().find(|part| part.name() == wanted);
                        parts.push(part.ok_or_else(|| format!("there is no part `{wanted}`"))?);
                    }
                }
                "--runs" => runs = Some(value()?.parse::<usize>()?.clamp(1, 100)),
                "--name" => name = Some(value()?.clone()),
                other => return Err(format!("`{other}` is not an option of the benchmark").into()),
            }
        }
        if parts.is_empty() {
            parts = Part::ALL.to_vec();
        }
        Ok(Self {
            quick,
            parts,
            runs: runs.unwrap_or(if quick { 3 } else { 7 }),
            name: name.unwrap_or_else(|| if quick { "quick" } else { "full" }.to_owned()),
            given,
        })
    }

    /// Returns `full`, or `quick` in a quick run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn results_file(&self) -> PathBuf {
        folder()
            .join("results")
            .join(format!("{}-{}.md", today(), self.name))
    }
}

/// Returns the folder of the benchmark.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the current date in UTC, as `YYYY-MM-DD`.
pub(crate) fn today() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Converts a number of days since 1970-01-01 to a date.
fn civil(days: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let (mut year, mut left) = (1970, days);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates_in_leap_years_too() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_088), (2024, 12, 31));
        assert_eq!(civil(20_089), (2025, 1, 1));
    }
}
