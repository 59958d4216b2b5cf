//! The tour: a small server that demonstrates Headwater. `cargo run --release --example tour`
//!
//! Each handler that returns `Streaming` serves SSE, NDJSON, JSON text sequences, a JSON array and
//! plain text. The client selects the format with `Accept` or `?format=`. The handlers' types and
//! doc comments become the OpenAPI document at `/openapi.json` and the docs at `/docs`, which can
//! play the streams.

mod answer;
mod system;
mod tail;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderName, header::CONTENT_SECURITY_POLICY},
    response::Html,
};
use clap::Parser;
use futures_core::Stream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headwater::{
    App, Item, Json, LastEventId, OpenApi, Problem, Query, Raw, StatusCode, Streaming, get, post,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::interval;
use tokio_stream::wrappers::IntervalStream;

/// A tour of Headwater: JSON streams from plain handlers.
#[derive(Parser)]
struct Args {
    /// Address and port to listen at (with port 0, the system selects a port), or `unix:` and a
    /// path
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: String,
    /// Log file that /tail follows
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print the OpenAPI document instead of serving
    #[arg(long)]
    openapi: bool,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    if args.openapi {
        return writeln!(io::stdout(), "{:#}", app(None).openapi(OpenApi::V3_2));
    }
    headwater::serve(app(args.log), args.listen)
        .on_bound(|address| eprintln!("listening on {address}"))
        .await
}

/// State shared by the handlers.
struct Tour {
    machine: system::Machine,
    log: Option<PathBuf>,
}

fn app(log: Option<PathBuf>) -> App {
    App::new("The tour of Headwater", env!("CARGO_PKG_VERSION"))
        .description(
            "A small server that shows what Headwater does: streams of typed items, in any format.",
        )
        .license("MIT or Apache 2.0", "MIT OR Apache-2.0")
        .tag("start", "Where to begin.")
        .tag("streams", "Items, each the moment it exists.")
        .tag(
            "this machine",
            "The state of the machine on which the tour runs.",
        )
        .route("/", get(greeting).tag("start"))
        .route("/watch", get(watch).tag("start"))
        .route("/ticks", get(ticks).tag("streams"))
        .route("/text", get(text).tag("streams"))
        .route("/answer", post(answer::answer).tag("streams"))
        .route("/system", get(machine).tag("this machine"))
        .route(
            "/tail",
            get(tail)
                .tag("this machine")
                .error(StatusCode::NOT_FOUND, "The tour was started without a log"),
        )
        .with_state(Arc::new(Tour {
            machine: system::Machine::default(),
            log,
        }))
}

/// A greeting with paths to try.
#[derive(Serialize, JsonSchema)]
struct Greeting {
    message: &'static str,
    /// Paths to try next.
    next: [&'static str; 6],
}

/// Returns a greeting.
#[headwater::operation]
async fn greeting() -> Json<Greeting> {
    Json(Greeting {
        message: "Hello from Headwater",
        next: [
            "/docs",
            "/text",
            "/ticks?count=5&every_ms=500",
            "/system",
            "/tail?lines=10",
            "/watch",
        ],
    })
}

/// Streams ten messages, one per second.
///
/// The text is sent in chunks, without items or a streaming format.
#[headwater::operation]
async fn text() -> Raw {
    let messages = stream::iter(1..=10).map(|n| format!("message {n} of 10\n"));
    Raw::text(paced(messages, Duration::from_secs(1)))
}

/// Returns the items of a stream, the first at once and then one per period.
fn paced<S: Stream>(items: S, every: Duration) -> impl Stream<Item = S::Item> {
    items
        .zip(IntervalStream::new(interval(every)))
        .map(|(item, _)| item)
}

/// A price at a point in time.
#[derive(Serialize, JsonSchema)]
struct Tick {
    /// Number of the tick, from 1.
    n: u64,
    symbol: &'static str,
    price: f64,
    note: &'static str,
}

impl Tick {
    /// Returns the `n`th tick, which is always the same.
    fn nth(n: u64) -> Self {
        const SYMBOLS: [&str; 4] = ["BROOK", "CREEK", "RILLS", "RIVER"];
        let quarters = u32::try_from(n % 1600 * 7 % 1600).unwrap_or_default();
        Self {
            n,
            symbol: SYMBOLS[(n % 4) as usize],
            price: 100.0 + f64::from(quarters) / 4.0,
            note: "an item of the tour, whole and in order",
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct Pace {
    /// Number of items.
    #[serde(default = "ten")]
    count: u64,
    /// Milliseconds between two items; 0 means as fast as possible.
    #[serde(default = "one_second")]
    #[schemars(range(max = 3_600_000))]
    every_ms: u64,
}

fn ten() -> u64 {
    10
}

fn one_second() -> u64 {
    1000
}

/// Streams typed items.
///
/// A reconnecting client resumes after the last item that it received.
#[headwater::operation]
async fn ticks(
    Query(Pace { count, every_ms }): Query<Pace>,
    LastEventId(last): LastEventId,
) -> Result<Streaming<Tick>, Problem> {
    // Any other id starts over: an error would stop an `EventSource` for good.
    let seen = last.and_then(|id| id.parse().ok()).unwrap_or(0);
    let ticks = stream::iter((seen..count).map(|seen| Item::new(Tick::nth(seen + 1)).id(seen + 1)));
    Ok(match every_ms {
        0 => Streaming::new(ticks),
        every_ms => Streaming::new(paced(ticks, Duration::from_millis(every_ms))),
    })
}

#[derive(Deserialize, JsonSchema)]
struct Interval {
    /// Milliseconds between two readings, up to 10,000. Rounded to a multiple of 250.
    #[serde(default = "one_second")]
    every_ms: u64,
}

/// Streams this machine's CPU, memory, disk and network figures.
///
/// Readings continue until the client disconnects.
#[headwater::operation]
async fn machine(
    State(tour): State<Arc<Tour>>,
    Query(interval): Query<Interval>,
) -> Result<Streaming<Arc<system::Reading>>, Problem> {
    let every = Duration::from_millis(interval.every_ms);
    Ok(Streaming::new(
        tour.machine.readings(every).map_err(Problem::internal)?,
    ))
}

#[derive(Deserialize, JsonSchema)]
struct History {
    /// Number of existing lines to send first.
    #[serde(default = "ten_lines")]
    #[schemars(range(max = 10_000))]
    lines: usize,
}

fn ten_lines() -> usize {
    10
}

/// Streams the last lines of the log, then each new line.
///
/// A reconnecting client resumes where it left off.
#[headwater::operation]
async fn tail(
    State(tour): State<Arc<Tour>>,
    Query(History { lines }): Query<History>,
    LastEventId(last): LastEventId,
) -> Result<Streaming<tail::Line>, Problem> {
    let Some(log) = tour.log.clone() else {
        return Err(Problem::not_found(
            "no log to follow: name one when you start the tour, with --log FILE",
        ));
    };
    // An invalid id starts over, as in `ticks`.
    let start = match last.and_then(|id| id.parse().ok()) {
        None => tail::Start::Last(lines),
        Some(position) => tail::Start::After(position),
    };
    let lines = tail::follow(log, start)
        .map_ok(|(position, line)| Item::new(line).id(position.to_string()))
        .map_err(|error| Problem::internal(error).detail("the log can't be read"));
    Ok(Streaming::try_new(lines))
}

/// Returns a page that draws this machine's figures.
///
/// It reads `/system` with an `EventSource`. Its policy forbids requests to other hosts.
#[headwater::operation]
async fn watch() -> ([(HeaderName, &'static str); 1], Html<&'static str>) {
    const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; \
        style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    (
        [(CONTENT_SECURITY_POLICY, POLICY)],
        Html(include_str!("watch.html")),
    )
}

#[cfg(test)]
mod tests;
