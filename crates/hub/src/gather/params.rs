//! The parameters of a gather.

use std::time::Duration;

use headwater::Problem;
use headwater_client::{
    Client,
    gather::{DEFAULT_CONCURRENCY, DEFAULT_PER_HOST, DEFAULT_RETRIES, Gather, GatherResults},
};
use headwater_log::limits::NAME_BYTES;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    error::Failure,
    limits::{GATHER_RATE, GATHER_RETRIES, GATHER_SECONDS, Limits},
};

/// The query parameters of a gather.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Ask {
    /// The path of a stream for the results, relative to the root of the streams. It is created as
    /// a JSON stream, the response is sent at once, the calls are made with or without watchers,
    /// and the stream is closed after the last result.
    #[schemars(length(min = 1, max = NAME_BYTES))]
    pub(super) stream: Option<String>,
    /// Maximum number of concurrent calls in total. Default: 64, or the hub's limit if that is
    /// lower.
    #[schemars(range(min = 1))]
    concurrency: Option<usize>,
    /// Maximum number of concurrent calls to one host: a scheme, a name and a port. Default: 16.
    #[schemars(range(min = 1))]
    per_host: Option<usize>,
    /// Maximum rate of calls to one host, in calls per second, evenly spaced. Default: no limit.
    #[schemars(range(min = 0.001, max = GATHER_RATE))]
    rate: Option<f64>,
    /// Timeout of a call in seconds, including all its attempts. Default: 120.
    #[schemars(range(min = 0.001, max = GATHER_SECONDS))]
    timeout: Option<f64>,
    /// Timeout of all calls together in seconds. Calls that aren't complete by then fail. Default:
    /// no limit.
    #[schemars(range(min = 0.001, max = GATHER_SECONDS))]
    total_timeout: Option<f64>,
    /// Maximum number of retries of a call that is safe to repeat. A call is retried if there is no
    /// response, the response is truncated, or its status is 429, 502, 503 or 504. Default: 3.
    #[schemars(range(max = GATHER_RETRIES))]
    retries: Option<u32>,
    /// If `true`, results are in the order of the calls. If `false`, they are sent as they arrive.
    #[serde(default)]
    ordered: bool,
    /// If `true`, results include the headers of their responses.
    #[serde(default)]
    headers: bool,
}

/// The parameters with defaults applied, within the limits.
#[derive(Debug)]
pub(super) struct Options {
    concurrency: usize,
    per_host: usize,
    rate: Option<f64>,
    timeout: Option<Duration>,
    total_timeout: Option<Duration>,
    retries: u32,
    ordered: bool,
    body_bytes: usize,
    pub(super) headers: bool,
}

impl Ask {
    /// Applies defaults and limits.
    ///
    /// # Errors
    /// 400: more concurrent calls than the hub allows.
    pub(super) fn options(&self, limits: &Limits) -> Result<Options, Failure> {
        let most = limits.gather_concurrency.max(1);
        let within = |name: &str, wanted: Option<usize>, default: usize| {
            match wanted {
            Some(wanted) if wanted > most => Err(Failure::bad_request(format!(
                "{name} is {wanted}, but the hub makes at most {most} calls at a time for one request"
            ))
            .with("limit", most)),
            Some(wanted) => Ok(wanted),
            None => Ok(default.min(most)),
        }
        };
        // The schema bounds them.
        let seconds = |wanted: Option<f64>| {
            wanted.and_then(|wanted| Duration::try_from_secs_f64(wanted).ok())
        };
        Ok(Options {
            concurrency: within("concurrency", self.concurrency, DEFAULT_CONCURRENCY)?,
            per_host: within("per_host", self.per_host, DEFAULT_PER_HOST)?,
            rate: self.rate,
            timeout: seconds(self.timeout),
            total_timeout: seconds(self.total_timeout),
            retries: self.retries.unwrap_or(DEFAULT_RETRIES),
            ordered: self.ordered,
            body_bytes: limits.gather_body_bytes,
            headers: self.headers,
        })
    }
}

impl Options {
    /// Returns a number that identifies the form of the results.
    pub(super) fn form(&self) -> u8 {
        u8::from(self.ordered) | u8::from(self.headers) << 1
    }

    /// Starts the calls with these options, over this client.
    ///
    /// # Errors
    /// An option is invalid, which the schema and the limits rule out.
    pub(super) fn start(&self, gather: Gather, client: &Client) -> Result<GatherResults, Problem> {
        let mut gather = gather
            .client(client)
            .concurrency(self.concurrency)
            .per_host(self.per_host)
            .retries(self.retries)
            .max_body_bytes(self.body_bytes);
        if let Some(rate) = self.rate {
            gather = gather.rate_per_host(rate);
        }
        if let Some(timeout) = self.timeout {
            gather = gather.timeout(timeout);
        }
        if let Some(timeout) = self.total_timeout {
            gather = gather.total_timeout(timeout);
        }
        if self.ordered {
            gather = gather.ordered();
        }
        Ok(gather.send()?)
    }
}
