//! The tour: a small server that shows what Headwater does. `cargo run --release --example tour`
//!
//! Every handler that returns `Streaming` serves SSE, NDJSON, JSON text sequences, one JSON array and
//! plain text: the client chooses, by `Accept` or `?format=`.

mod system;
mod tail;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::header::CONTENT_SECURITY_POLICY,
    response::{Html, IntoResponse},
    routing::get,
};
use clap::Parser;
use futures_core::Stream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headwater::{Item, LastEventId, Problem, Raw, Streaming};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::interval;
use tokio_stream::wrappers::IntervalStream;
use tracing_subscriber::EnvFilter;

/// The most lines of history that `/tail` gives before it follows the file.
const MAX_TAIL_LINES: usize = 10_000;

/// A tour of Headwater: JSON streams from plain handlers.
#[derive(Parser)]
struct Args {
    /// Where to listen: an address and port (0 lets the system choose), or `unix:` and a path
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: String,
    /// The log file that /tail follows
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    headwater::serve(app(args.log), args.listen)
        .on_bound(|address| eprintln!("listening on {address}"))
        .await
}

/// What the handlers share.
struct Tour {
    machine: system::Machine,
    log: Option<PathBuf>,
}

fn app(log: Option<PathBuf>) -> Router {
    Router::new()
        .route("/", get(greeting))
        .route("/text", get(text))
        .route("/ticks", get(ticks))
        .route("/system", get(machine))
        .route("/tail", get(tail))
        .route("/watch", get(watch))
        .with_state(Arc::new(Tour {
            machine: system::Machine::default(),
            log,
        }))
}

async fn greeting() -> Json<Value> {
    Json(json!({
        "message": "Hello from Headwater",
        "next": ["/text", "/ticks?count=5&every_ms=500", "/system", "/tail?lines=10", "/watch"],
    }))
}

/// Ten messages, one a second: text as it comes, with no items and no format.
async fn text() -> Raw {
    let messages = stream::iter(1..=10).map(|n| format!("message {n} of 10\n"));
    Raw::text(paced(messages, Duration::from_secs(1)))
}

/// The items of a stream, the first at once and then one each period.
fn paced<S: Stream>(items: S, every: Duration) -> impl Stream<Item = S::Item> {
    items
        .zip(IntervalStream::new(interval(every)))
        .map(|(item, _)| item)
}

#[derive(Serialize)]
struct Tick {
    n: u64,
    symbol: &'static str,
    price: f64,
    note: &'static str,
}

impl Tick {
    /// The `n`th tick, the same for everybody at all times.
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

#[derive(Deserialize)]
#[serde(default)]
struct TicksQuery {
    count: u64,
    every_ms: u64,
}

impl Default for TicksQuery {
    fn default() -> Self {
        Self {
            count: 10,
            every_ms: 1000,
        }
    }
}

/// Typed items. A client that comes back after a break gets what it hasn't seen.
async fn ticks(
    query: Result<Query<TicksQuery>, QueryRejection>,
    LastEventId(last): LastEventId,
) -> Result<Streaming<Tick>, Problem> {
    let Query(TicksQuery { count, every_ms }) = query?;
    let seen = match last {
        None => 0,
        Some(id) => id
            .parse()
            .map_err(|_| Problem::bad_request("Last-Event-ID is none of this stream's"))?,
    };
    let ticks = stream::iter((seen..count).map(|seen| Item::new(Tick::nth(seen + 1)).id(seen + 1)));
    Ok(match every_ms {
        0 => Streaming::new(ticks),
        every_ms => Streaming::new(paced(ticks, Duration::from_millis(every_ms))),
    })
}

#[derive(Deserialize)]
struct SystemQuery {
    #[serde(default = "one_second")]
    every_ms: u64,
}

fn one_second() -> u64 {
    1000
}

/// This machine's CPU, memory, disks and network, for as long as the client stays.
async fn machine(
    State(tour): State<Arc<Tour>>,
    query: Result<Query<SystemQuery>, QueryRejection>,
) -> Result<Streaming<Arc<system::Reading>>, Problem> {
    let Query(query) = query?;
    let every = Duration::from_millis(query.every_ms);
    Ok(Streaming::new(
        tour.machine.readings(every).map_err(Problem::internal)?,
    ))
}

#[derive(Deserialize)]
struct TailQuery {
    #[serde(default = "ten")]
    lines: usize,
}

fn ten() -> usize {
    10
}

/// The last lines of the log, then every new one. A client that comes back goes on where it was.
async fn tail(
    State(tour): State<Arc<Tour>>,
    query: Result<Query<TailQuery>, QueryRejection>,
    LastEventId(last): LastEventId,
) -> Result<Streaming<tail::Line>, Problem> {
    let Some(log) = tour.log.clone() else {
        return Err(Problem::not_found(
            "no log to follow: name one when you start the tour, with --log FILE",
        ));
    };
    let lines = match query {
        Ok(Query(query)) if query.lines <= MAX_TAIL_LINES => query.lines,
        _ => {
            return Err(Problem::bad_request(format!(
                "lines is a number from 0 to {MAX_TAIL_LINES}"
            )));
        }
    };
    let start = match last {
        None => tail::Start::Last(lines),
        Some(id) => tail::Start::After(
            id.parse()
                .map_err(|_| Problem::bad_request("Last-Event-ID is none of this stream's"))?,
        ),
    };
    let lines = tail::follow(log, start)
        .map_ok(|(position, line)| Item::new(line).id(position.to_string()))
        .map_err(|error| Problem::internal(error).detail("the log can't be read"));
    Ok(Streaming::try_new(lines))
}

/// A page with an `EventSource` on `/system`. It needs no other host, and its policy says so.
async fn watch() -> impl IntoResponse {
    const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; \
        style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    (
        [(CONTENT_SECURITY_POLICY, POLICY)],
        Html(include_str!("watch.html")),
    )
}

#[cfg(test)]
mod tests;
