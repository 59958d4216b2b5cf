//! A typed client that reads one stream.
//!
//! `client headwater|headwater-blocking|reqwest|reqwest-blocking URL COUNT` reads COUNT items of
//! the stream at URL and prints the time from the request to the last item, in nanoseconds.

use std::{
    io::{self, BufRead, BufReader},
    time::Instant,
};

use eventsource_stream::Eventsource;
use futures_util::{StreamExt, TryStreamExt};
use headwater_bench::{
    Error,
    item::{Framing, Received},
};
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

fn main() -> Result<(), Error> {
    // It fails only if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, url, count] = args.as_slice() else {
        return Err("usage: client KIND URL COUNT".into());
    };
    let count: u64 = count.parse()?;
    let framing = if url.contains("/sse") {
        Framing::Sse
    } else {
        Framing::Ndjson
    };
    let start = Instant::now();
    let read = match kind.as_str() {
        "headwater" => runtime()?.block_on(headwater(url, framing, count))?,
        "headwater-blocking" => headwater_blocking(url, framing, count)?,
        "reqwest" if framing == Framing::Sse => runtime()?.block_on(reqwest_sse(url, count))?,
        "reqwest" => runtime()?.block_on(reqwest_lines(url, count))?,
        "reqwest-blocking" => reqwest_blocking(url, count)?,
        other => return Err(format!("there is no client `{other}`").into()),
    };
    if read != count {
        return Err(format!("{read} items of {count} came").into());
    }
    println!("{}", start.elapsed().as_nanos());
    Ok(())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Uses an item with minimal work that the compiler can't remove.
fn take(item: &Received) {
    std::hint::black_box(item);
}

async fn headwater(url: &str, framing: Framing, count: u64) -> Result<u64, Error> {
    let request = headwater_client::get(url)
        .accept(framing.media_type())
        .reconnect(false);
    let mut items = request.stream::<Received>().await?;
    let mut read = 0;
    while read < count {
        let Some(item) = items.next().await else {
            break;
        };
        take(&item?);
        read += 1;
    }
    Ok(read)
}

fn headwater_blocking(url: &str, framing: Framing, count: u64) -> Result<u64, Error> {
    let request = headwater_client::blocking::get(url).accept(framing.media_type());
    let items = request.reconnect(false).stream::<Received>()?;
    let mut read = 0;
    for item in items {
        take(&item?);
        read += 1;
        if read == count {
            break;
        }
    }
    Ok(read)
}

async fn reqwest_sse(url: &str, count: u64) -> Result<u64, Error> {
    let response = reqwest::get(url).await?.error_for_status()?;
    let mut events = response.bytes_stream().eventsource();
    let mut read = 0;
    while read < count {
        let Some(event) = events.next().await else {
            break;
        };
        take(&serde_json::from_str(&event?.data)?);
        read += 1;
    }
    Ok(read)
}

async fn reqwest_lines(url: &str, count: u64) -> Result<u64, Error> {
    let response = reqwest::get(url).await?.error_for_status()?;
    let body = StreamReader::new(response.bytes_stream().map_err(io::Error::other));
    let mut lines = FramedRead::new(body, LinesCodec::new());
    let mut read = 0;
    while read < count {
        let Some(line) = lines.next().await else {
            break;
        };
        take(&serde_json::from_str(&line?)?);
        read += 1;
    }
    Ok(read)
}

fn reqwest_blocking(url: &str, count: u64) -> Result<u64, Error> {
    let mut body = BufReader::new(reqwest::blocking::get(url)?.error_for_status()?);
    let mut line = String::new();
    let mut read = 0;
    while read < count && body.read_line(&mut line)? > 0 {
        take(&serde_json::from_str(&line)?);
        line.clear();
        read += 1;
    }
    Ok(read)
}
