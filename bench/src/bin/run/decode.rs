//! The decoders in process, with the same bytes in the same chunks.

use std::{convert::Infallible, fs, hint::black_box};

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::{StreamExt, stream};
use headwater_bench::{
    Error,
    item::{EVENT_BYTES, LINE_BYTES, items},
    system,
};
use headwater_wire::{Decoder, Encoder, Format, Limits, Meta, sse};
use memchr::memchr_iter;

use crate::{
    options::Options,
    python,
    report::{Bar, Report, Table},
    stats::{median, ratio},
};

const CHUNK: usize = 64 * 1024;
/// Number of items per pass. As SSE, they are exactly 25 chunks, which stay in the CPU cache like
/// bytes that have just been read from a socket.
const ITEMS: u64 = 16_384;

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let events = encoded(Format::Sse)?;
    let mut rows = Vec::new();
    let passes = options.pick(40, 5);
    let mut sse: Vec<(&str, f64)> = vec![
        ("Headwater", measure(options, passes, &events, sse_pass)?),
        (
            "`sse-stream`",
            measure(options, passes, &events, sse_stream_pass)?,
        ),
        (
            "`eventsource-stream`",
            measure(options, passes / 4, &events, eventsource_stream_pass)?,
        ),
        ("`httpx-sse` (Python)", httpx_sse(options, &events)?),
    ];
    let headwater = sse[0].1;
    sse.push((
        "line feeds counted by `memchr`",
        measure(options, passes, &events, count_pass)?,
    ));
    for (name, speed) in &sse {
        rows.push(row("SSE", name, *speed, headwater));
    }
    for (name, format) in [
        ("NDJSON", Format::Ndjson),
        ("JSON text sequence", Format::JsonSeq),
        ("JSON array", Format::JsonArray),
        ("text, by line", Format::Text),
    ] {
        let speed = measure(options, passes, &encoded(format)?, |data| {
            pass(Decoder::new(format, Limits::default()), data)
        })?;
        rows.push(row(name, "Headwater", speed, headwater));
    }
    report.table(Table {
        title: "Decoders".to_owned(),
        note: format!(
            "SSE events of {EVENT_BYTES} bytes; in the other formats the same items. Chunks of 64 KiB, \
             the bytes in the processor's cache; by the CPU time of one thread."
        ),
        head: vec!["format", "decoder", "GB/s", "items/s", "Headwater's SSE is"],
        rows,
    });
    report.bar(Bar {
        name: "SSE decoder on 100-byte events".to_owned(),
        wanted: 1.0,
        got: headwater,
        at_most: false,
        unit: " GB/s",
    });
    let best = sse[1..4]
        .iter()
        .map(|(_, speed)| *speed)
        .fold(0.0, f64::max);
    report.bar(Bar {
        name: "SSE decoder against the best of the three".to_owned(),
        wanted: 3.0,
        got: headwater / best,
        at_most: false,
        unit: "×",
    });
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "small sizes")]
fn row(format: &str, name: &str, speed: f64, headwater: f64) -> Vec<String> {
    let size = if format == "SSE" {
        EVENT_BYTES
    } else {
        LINE_BYTES
    };
    vec![
        format.to_owned(),
        name.to_owned(),
        format!("{speed:.2}"),
        format!("{:.1} M", speed * 1e3 / size as f64),
        ratio(headwater / speed),
    ]
}

fn encoded(format: Format) -> Result<Vec<Bytes>, Error> {
    let (mut encoder, mut out) = (Encoder::new(format), Vec::new());
    for item in items(ITEMS) {
        encoder.item(&Meta::default(), &item, &mut out)?;
    }
    encoder.end(&mut out);
    let out = Bytes::from(out);
    Ok((0..out.len())
        .step_by(CHUNK)
        .map(|at| out.slice(at..out.len().min(at + CHUNK)))
        .collect())
}

/// Returns the median speed of `passes` passes over `data`, in GB/s.
#[allow(clippy::cast_precision_loss, reason = "sizes and times far below 2^52")]
fn measure(
    options: &Options,
    passes: usize,
    data: &[Bytes],
    pass: impl Fn(&[Bytes]) -> Result<u64, Error>,
) -> Result<f64, Error> {
    let bytes: usize = data.iter().map(Bytes::len).sum();
    let mut speeds = Vec::new();
    for run in 0..=options.runs {
        let start = system::own_cpu_ns();
        for _ in 0..passes.max(1) {
            let count = pass(data)?;
            if count != ITEMS {
                return Err(format!("a decoder gave {count} items of {ITEMS}").into());
            }
        }
        // The first run is a warm-up.
        if run > 0 {
            let took = (system::own_cpu_ns() - start) as f64;
            speeds.push((bytes * passes.max(1)) as f64 / took);
        }
    }
    Ok(median(&speeds))
}

fn sse_pass(data: &[Bytes]) -> Result<u64, Error> {
    let mut decoder = sse::Decoder::new(Limits::default());
    let mut count = 0;
    for chunk in data {
        decoder.push(chunk.clone());
        while let Some(event) = decoder.next()? {
            black_box(&event);
            count += 1;
        }
    }
    Ok(count)
}

fn pass(mut decoder: Decoder, data: &[Bytes]) -> Result<u64, Error> {
    let mut count = 0;
    for chunk in data {
        decoder.push(chunk.clone());
        while let Some(event) = decoder.next()? {
            black_box(&event);
            count += 1;
        }
    }
    decoder.finish();
    while let Some(event) = decoder.next()? {
        black_box(&event);
        count += 1;
    }
    Ok(count)
}

fn chunks(data: &[Bytes]) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Unpin {
    stream::iter(data.to_vec()).map(Ok)
}

fn eventsource_stream_pass(data: &[Bytes]) -> Result<u64, Error> {
    runtime()?.block_on(async {
        let mut events = chunks(data).eventsource();
        let mut count = 0;
        while let Some(event) = events.next().await {
            black_box(&event?);
            count += 1;
        }
        Ok(count)
    })
}

fn sse_stream_pass(data: &[Bytes]) -> Result<u64, Error> {
    runtime()?.block_on(async {
        let mut events = sse_stream::SseByteStream::new(chunks(data));
        let mut count = 0;
        while let Some(event) = events.next().await {
            black_box(&event?);
            count += 1;
        }
        Ok(count)
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().build()
}

/// Counts line feeds without decoding: an upper bound on the speed.
fn count_pass(data: &[Bytes]) -> Result<u64, Error> {
    Ok(data
        .iter()
        .map(|chunk| memchr_iter(b'\n', chunk).count() as u64)
        .sum::<u64>()
        / 2)
}

#[allow(clippy::cast_precision_loss, reason = "sizes and times far below 2^52")]
fn httpx_sse(options: &Options, data: &[Bytes]) -> Result<f64, Error> {
    let file = std::env::temp_dir().join(format!("headwater-bench-{}.sse", std::process::id()));
    let bytes = data.concat();
    fs::write(&file, &bytes)?;
    let output = python::command()
        .arg(crate::options::folder().join("peers/decode.py"))
        .arg(&file)
        .args([CHUNK.to_string(), (options.runs + 1).to_string()])
        .output();
    fs::remove_file(&file)?;
    let output = output?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let times = String::from_utf8(output.stdout)?;
    let speeds: Result<Vec<f64>, _> = times
        .lines()
        .skip(1)
        .map(|took| {
            took.parse::<u64>()
                .map(|took| bytes.len() as f64 / took as f64)
        })
        .collect();
    Ok(median(&speeds?))
}
