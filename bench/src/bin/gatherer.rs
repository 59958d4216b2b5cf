//! One implementation of many concurrent calls.
//!
//! `gatherer headwater|headwater-blocking|reqwest URL COUNT CONCURRENCY` makes COUNT calls of
//! `URL/0`, `URL/1`, … and prints the duration in nanoseconds, the CPU time in nanoseconds, and the
//! peak of its memory in bytes.

use std::time::Instant;

use futures_util::{StreamExt, stream};
use headwater_bench::{Error, item::Received, system};

fn main() -> Result<(), Error> {
    // It fails only if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, url, count, concurrency] = args.as_slice() else {
        return Err("usage: gatherer KIND URL COUNT CONCURRENCY".into());
    };
    let (count, concurrency): (u64, usize) = (count.parse()?, concurrency.parse()?);
    let url = url.clone();
    let urls = (0..count).map(move |n| format!("{url}/{n}"));
    let (start, cpu) = (Instant::now(), system::own_cpu_ns());
    let made = match kind.as_str() {
        "headwater" => runtime()?.block_on(headwater(urls, concurrency))?,
        "headwater-blocking" => headwater_blocking(urls, concurrency)?,
        "reqwest" => runtime()?.block_on(reqwest(urls, concurrency))?,
        other => return Err(format!("there is no way `{other}`").into()),
    };
    if made != count {
        return Err(format!("{made} calls of {count} were answered").into());
    }
    let (took, cpu) = (start.elapsed().as_nanos(), system::own_cpu_ns() - cpu);
    println!("{took} {cpu} {}", system::peak_bytes(std::process::id())?);
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Uses a response with minimal work that the compiler can't remove.
fn take(item: &Received) {
    std::hint::black_box(item);
}

async fn headwater(
    urls: impl Iterator<Item = String> + Send + 'static,
    concurrency: usize,
) -> Result<u64, Error> {
    let gather = headwater_client::gather(urls);
    let mut results = gather
        .concurrency(concurrency)
        .per_host(concurrency)
        .send()?;
    let mut made = 0;
    while let Some(result) = results.next().await {
        take(&result.outcome?.json()?);
        made += 1;
    }
    Ok(made)
}

fn headwater_blocking(
    urls: impl Iterator<Item = String> + Send + 'static,
    concurrency: usize,
) -> Result<u64, Error> {
    let gather = headwater_client::blocking::gather(urls);
    let mut made = 0;
    for result in gather
        .concurrency(concurrency)
        .per_host(concurrency)
        .send()?
    {
        take(&result.outcome?.json()?);
        made += 1;
    }
    Ok(made)
}

async fn reqwest(urls: impl Iterator<Item = String>, concurrency: usize) -> Result<u64, Error> {
    let client = reqwest::Client::new();
    let mut answers = stream::iter(urls)
        .map(|url| {
            let client = client.clone();
            async move {
                let response = client.get(url).send().await?.error_for_status()?;
                response.bytes().await
            }
        })
        .buffer_unordered(concurrency);
    let mut made = 0;
    while let Some(answer) = answers.next().await {
        take(&serde_json::from_slice(&answer?)?);
        made += 1;
    }
    Ok(made)
}
