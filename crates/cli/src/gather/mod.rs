//! `headwater gather`: makes many calls at once, and prints each result as it arrives.

mod input;
mod output;
mod progress;
mod resume;
mod resume_command;

use std::{future::Future as _, path::PathBuf, pin::pin, task::Poll, time::Duration};

use clap::Args as ClapArgs;
use headwater_client::{
    Client,
    gather::{GatherResult, GatherResults, from_stream},
};

use self::{input::Input, output::Output, progress::Bar, resume::Earlier};
use crate::{
    args::{bytes, decimal, duration, header, whole},
    exit::Failure,
    file::{Place, refuse_same},
    get::output::Written,
    interrupt::Interrupt,
    trust::Trust,
};

/// Maximum age of an idle connection. There may be very many hosts, and few file descriptors.
const KEEP_CONNECTIONS: Duration = Duration::from_secs(4);

/// The interval at which the bar is redrawn if no result arrives.
const REDRAW: Duration = Duration::from_millis(200);

#[derive(ClapArgs)]
pub(crate) struct Gather {
    /// The calls, one per line; without it, or with `-`, from the standard input
    file: Option<PathBuf>,

    #[command(flatten)]
    calls: Calls,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    output: Results,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Calls")]
struct Calls {
    /// Send a header with every call that doesn't set it itself; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,

    /// Retry a call this many times if it gets no response, a truncated one, or 429, 502, 503 or
    /// 504
    ///
    /// Waits with growing backoff between attempts, and at least as long as Retry-After. Only
    /// idempotent methods are retried: GET, HEAD, OPTIONS, PUT, DELETE, …
    #[arg(
        long, value_name = "N", value_parser = whole::<u32>,
        default_value_t = headwater_client::gather::DEFAULT_RETRIES
    )]
    retries: u32,

    /// Retry POST and PATCH, too
    ///
    /// For calls that may safely be made twice. A single call allows it by "repeatable": true.
    #[arg(long)]
    retry_post: bool,

    /// Make equal concurrent calls separately, instead of sharing one response
    #[arg(long)]
    no_share: bool,

    #[command(flatten)]
    trust: Trust,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Maximum number of calls in flight
    #[arg(
        short = 'c', long, value_name = "N", value_parser = whole::<usize>,
        default_value_t = headwater_client::gather::DEFAULT_CONCURRENCY
    )]
    concurrency: usize,

    /// Maximum number of calls in flight to one host (scheme, name and port)
    #[arg(
        long, value_name = "N", value_parser = whole::<usize>,
        default_value_t = headwater_client::gather::DEFAULT_PER_HOST
    )]
    per_host: usize,

    /// Maximum number of calls per second to one host, evenly spaced; 0.5 is one in two seconds
    #[arg(long, value_name = "CALLS", value_parser = decimal)]
    rate: Option<f64>,

    /// Time limit of a call with all its attempts: 90s, 500ms, 2m; 0 disables it
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    timeout: Duration,

    /// Time limit of all calls; unfinished ones then fail, and no more are read
    #[arg(long, value_name = "TIME", value_parser = duration)]
    total_timeout: Option<Duration>,

    /// Maximum size of a response's body: 1000, 64KiB, 1MiB; a larger one is an error
    #[arg(
        long, value_name = "BYTES", value_parser = bytes::<usize>,
        default_value_t = headwater_client::gather::DEFAULT_MAX_BODY_BYTES
    )]
    max_body_bytes: usize,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Results")]
struct Results {
    /// Print the results in the order of the calls, instead of as they arrive
    #[arg(long)]
    ordered: bool,

    /// Print the response headers, too
    #[arg(long = "headers")]
    with_headers: bool,

    /// Write to a file
    ///
    /// The file keeps its content until a call has succeeded, and is then overwritten as results
    /// arrive. If no call succeeds, the results go to the standard output. It can't be the file of
    /// the calls.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Resume an interrupted run whose output is FILE; FILE may not exist yet
    ///
    /// Calls that have a result in FILE are not made again; new results are appended. A truncated
    /// last line is dropped. A call is identified by its key, or else by its index and URL, so pass
    /// the same calls. Failed calls are made again; the later line counts.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    resume: Option<PathBuf>,

    /// No progress on stderr
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: Gather, mut interrupt: Interrupt) -> Result<(), Failure> {
    let client = client(&args)?;
    let target = args.output.resume.as_ref().or(args.output.output.as_ref());
    let input = Place::input(args.file.as_deref());
    refuse_same(input, Place::output(target.map(PathBuf::as_path)))?;
    let (earlier, mut output) = match &args.output.resume {
        Some(path) => resume::open(path)?,
        None => (
            Earlier::default(),
            Output::create(args.output.output.as_deref())?,
        ),
    };
    let input = Input::open(args.file.as_deref(), earlier, args.calls.retry_post)?;
    let watch = input.watch();
    let mut bar = Bar::new(args.output.quiet, output.is_terminal());
    let mut results = gather(&args, &client, input)?;
    let outcome = tokio::select! {
        outcome = print(&args.output, &mut results, &watch, &mut output, &mut bar) => outcome,
        number = interrupt.wait() => Err(Failure::signal(number)),
    };
    let interrupted = outcome.is_err() && interrupt.is_signalled();
    let progress = results.progress();
    // The calls in flight end now, not after the last line is written.
    drop(results);
    bar.clear();
    let flushed = output.finish(outcome.is_ok() && watch.is_sound());
    bar.finish(progress, &watch);
    if interrupted && (args.output.resume.is_some() || output.has_written()) {
        resume_command::tell(&args);
    }
    if outcome? == Written::OutputClosed || flushed? == Written::OutputClosed {
        return Ok(());
    }
    if let Some(failure) = watch.failure() {
        return Err(failure);
    }
    match progress.failed {
        0 => Ok(()),
        _ => Err(Failure::calls()),
    }
}

fn client(args: &Gather) -> Result<Client, Failure> {
    let client = args.calls.trust.apply(Client::builder())?;
    let mut client = client.keep_connections(KEEP_CONNECTIONS);
    for (name, value) in &args.calls.headers {
        client = client.header(name, value);
    }
    Ok(client.build()?)
}

fn gather(args: &Gather, client: &Client, input: Input) -> Result<GatherResults, Failure> {
    let mut gather = from_stream(input)
        .client(client)
        .concurrency(args.limits.concurrency)
        .per_host(args.limits.per_host)
        .timeout(args.limits.timeout)
        .total_timeout(args.limits.total_timeout.unwrap_or_default())
        .max_body_bytes(args.limits.max_body_bytes)
        .retries(args.calls.retries)
        .share_equal(!args.calls.no_share);
    if let Some(rate) = args.limits.rate {
        gather = gather.rate_per_host(rate);
    }
    if args.output.ordered {
        gather = gather.ordered();
    }
    // Only the options can be invalid here.
    gather.send().map_err(Failure::usage)
}

/// Prints results until there are no more, or until the output is closed.
async fn print(
    args: &Results,
    results: &mut GatherResults,
    watch: &input::Watch,
    output: &mut Output,
    bar: &mut Bar,
) -> Result<Written, Failure> {
    loop {
        let mut result = match tokio::time::timeout(REDRAW, results.next()).await {
            Ok(Some(result)) => Some(result),
            Ok(None) => return Ok(Written::Yes),
            Err(_) => None,
        };
        while let Some(mut next) = result {
            next.index = watch.index(next.index);
            output.result(&next, args.with_headers)?;
            // Results that are already available are written together.
            result = match output.is_full() {
                true => None,
                false => ready(results).await,
            };
        }
        bar.tell(results.progress(), watch);
        if bar.aside(|| output.flush())? == Written::OutputClosed {
            return Ok(Written::OutputClosed);
        }
    }
}

/// Returns a result that is already available. `None` doesn't mean that there are no more.
async fn ready(results: &mut GatherResults) -> Option<GatherResult> {
    let mut next = pin!(results.next());
    std::future::poll_fn(|cx| {
        Poll::Ready(match next.as_mut().poll(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => None,
        })
    })
    .await
}
