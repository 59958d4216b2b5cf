//! Measures the CPU cost of subscribers of `/events`. Usage:
//! `events [READERS [MESSAGES [PER_SECOND [QUERY [FOLDER]]]]]`. Without a folder, the log is in
//! memory. Subscribers read the response body directly, without a socket, so that only the hub's
//! work is measured. The results are written to stdout.

#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use futures_util::StreamExt;
use headwater_hub::Hub;
use headwater_log::{Append, Create, DiskLog, DiskOptions, Log, MemoryLog, Settings, StreamName};
use http::Request;
use tower::ServiceExt;

const STREAMS: usize = 16;
/// Number of lines of an event: its id, its data, and an empty line.
const LINES: usize = 3;

/// Returns the CPU time of the process so far, at 100 ticks per second.
fn cpu() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = usage.rsplit(')').next().unwrap_or_default().split(' ');
    let ticks = fields
        .skip(12)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| match arguments.next() {
        Some(text) => text.parse::<usize>(),
        None => Ok(default),
    };
    let (readers, messages, rate) = (number(200)?, number(4000)?, number(2000)?);
    let query = arguments.next().unwrap_or_else(|| "stream=**".to_owned());
    let log: Arc<dyn Log> = match arguments.next() {
        Some(folder) => Arc::new(DiskLog::open(folder, DiskOptions::default())?),
        None => Arc::new(MemoryLog::default()),
    };
    let router = Hub::new(Arc::clone(&log)).app().into_router();
    let mut names = Vec::new();
    for n in 0..STREAMS {
        let name = StreamName::new(&format!("s/{n}"))?;
        let create = Create::new(Settings::of_type("application/json"));
        log.create(&name, create).await?;
        names.push(name);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..readers {
        let request = Request::get(format!("/events?{query}&after=now&format=sse"));
        let response = router.clone().oneshot(request.body(Body::empty())?).await?;
        assert_eq!(response.status(), 200, "the query is good");
        tasks.spawn(async move {
            let mut chunks = response.into_body().into_data_stream();
            let (mut lines, mut bytes) = (0, 0);
            while lines < messages * LINES {
                let Some(Ok(chunk)) = chunks.next().await else {
                    break;
                };
                // Skips heartbeats and the notice of the start position.
                if chunk.starts_with(b"id: ") && memchr::memmem::find(&chunk, b"data: ").is_some() {
                    lines += memchr::memchr_iter(b'\n', &chunk).count();
                    bytes += chunk.len();
                }
            }
            (lines / LINES, bytes)
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (started, used) = (Instant::now(), cpu());
    let message = bytes::Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(80)));
    for n in 0..messages {
        let due = started + Duration::from_secs_f64(n as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        let append = Append::new(vec![message.clone()]);
        log.append(&names[n % STREAMS], append).await?;
    }
    let (mut delivered, mut bytes) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        let done = done?;
        delivered += done.0;
        bytes += done.1;
    }
    let (took, used) = (started.elapsed(), cpu().saturating_sub(used));
    println!(
        "{readers} readers, {messages} messages: {delivered} deliveries, {} bytes each, in {took:.2?}, with {used:.2?} of CPU: {:.2} µs a delivery",
        bytes / delivered.max(1),
        used.as_secs_f64() * 1e6 / delivered.max(1) as f64,
    );
    log.close().await?;
    Ok(())
}
