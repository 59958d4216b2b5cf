//! How the calls are to be made, as the query says.

use std::time::Duration;

use headwater::Problem;
use headwater_client::{
    Client,
    gather::{DEFAULT_CONCURRENCY, DEFAULT_PER_HOST, DEFAULT_RETRIES, Gather, Gathered},
};
use headwater_log::limits::NAME_BYTES;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    error::Failure,
    limits::{GATHER_RATE, GATHER_RETRIES, GATHER_SECONDS, Limits},
};

/// What the query may say.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Ask {
    /// The path of a stream, from the root of the streams, that the results are written to. It is created as a stream of
    /// JSON, the answer comes at once, the calls are made whoever watches, and the stream is closed after the last.
    #[schemars(length(min = 1, max = NAME_BYTES))]
    pub(super) stream: Option<String>,
    /// How many calls are made at a time, in all. Default: 64, or the hub's limit if that is lower.
    #[schemars(range(min = 1))]
    concurrency: Option<usize>,
    /// How many calls are made at a time to one host: a scheme, a name and a port. Default: 16.
    #[schemars(range(min = 1))]
    per_host: Option<usize>,
    /// How many calls a second are sent to one host, evenly spaced. Default: no limit.
    #[schemars(range(min = 0.001, max = GATHER_RATE))]
    rate: Option<f64>,
    /// How many seconds a call may take, with all its attempts. Default: 120.
    #[schemars(range(min = 0.001, max = GATHER_SECONDS))]
    timeout: Option<f64>,
    /// How many seconds all calls may take. Those that aren't done by then fail. Default: no limit.
    #[schemars(range(min = 0.001, max = GATHER_SECONDS))]
    total_timeout: Option<f64>,
    /// How many times a call that is safe to repeat is made again: where there is no answer, it is cut, or its status is
    /// 429, 502, 503 or 504. Default: 3.
    #[schemars(range(max = GATHER_RETRIES))]
    retries: Option<u32>,
    /// Whether results come in the order of the calls, and not as they are there.
    #[serde(default)]
    ordered: bool,
    /// Whether results have the headers of their answers.
    #[serde(default)]
    headers: bool,
}

/// The same, with what was left open filled in, and within the limits.
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
    /// # Errors
    /// 400: more calls at a time than the hub makes.
    pub(super) fn options(&self, limits: &Limits) -> Result<Options, Failure> {
        let most = limits.gather_concurrency.max(1);
        let within = |name: &str, wanted: Option<usize>, default: usize| {
            match wanted {
            Some(wanted) if wanted > most => Err(Failure::bad_request(format!(
                "{name} is {wanted}, and the hub makes at most {most} calls at a time for one request"
            ))
            .with("limit", most)),
            Some(wanted) => Ok(wanted),
            None => Ok(default.min(most)),
        }
        };
        // The schema has bounded them.
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
    /// How the results are.
    pub(super) fn form(&self) -> u8 {
        u8::from(self.ordered) | u8::from(self.headers) << 1
    }

    /// Starts calls as they are asked for, over this client.
    ///
    /// # Errors
    /// An option is wrong, which the schema and the limits rule out.
    pub(super) fn start(&self, gather: Gather, client: &Client) -> Result<Gathered, Problem> {
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
