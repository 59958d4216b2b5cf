//! Memory of a hub: with stalled readers of a busy stream, with many idle readers, and with many
//! streams.
//!
//! With `HEADWATER_FULL=1`, the tests publish 1 GiB and create 100,000 streams. That takes minutes
//! without a release build:
//! `HEADWATER_FULL=1 cargo test --release -p headwater-tests --test integration heavy::hub`.
//! Without the variable, they publish 256 MiB and create 10,000 streams.

#![allow(
    clippy::print_stdout,
    reason = "the figures, for who asks with --nocapture"
)]

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::{
    Outcome,
    child::Server,
    raw,
    served::{soon, within},
};

const MIB: usize = 1 << 20;
/// Size of a message in bytes.
const MESSAGE: usize = MIB;
/// Maximum resident memory of the process, with its caches, in bytes.
const CAP: u64 = 600 * MIB as u64;

/// Number of idle readers.
const IDLE: usize = 10_000;
/// Maximum resident memory per idle reader, in bytes, in a build with the test profile.
const IDLE_BYTES: u64 = 24 << 10;
const DEADLINE: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(5);

fn is_full() -> bool {
    std::env::var_os("HEADWATER_FULL").is_some_and(|value| value == "1")
}

/// Returns the time limit of a test.
fn limit() -> Duration {
    Duration::from_secs(if is_full() { 600 } else { 100 })
}

/// A connection that sends requests, pipelined or one after the other.
struct Publisher(BufReader<TcpStream>);

impl Publisher {
    async fn new(server: &Server) -> std::io::Result<Self> {
        Ok(Self(BufReader::new(
            TcpStream::connect(server.address).await?,
        )))
    }

    async fn send(&mut self, method: &str, path: &str, body: &[u8]) -> std::io::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(head.as_bytes()).await?;
        self.0.write_all(body).await
    }

    /// Reads the next response. Returns its status.
    async fn status(&mut self) -> std::io::Result<u16> {
        let (mut status, mut length, mut line) = (0, 0, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = text.strip_prefix("http/1.1 ") {
                status = rest
                    .get(..3)
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(0);
            } else if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            } else if text.is_empty() {
                self.0.read_exact(&mut vec![0; length]).await?;
                return Ok(status);
            }
        }
    }
}

/// Returns a message that doesn't compress.
fn message() -> Vec<u8> {
    let mut bytes = vec![0; MESSAGE];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    bytes
}

#[tokio::test]
async fn stalled_readers_do_not_grow_the_hub_while_messages_are_published() -> Outcome {
    within(limit(), stalled()).await
}

async fn stalled() -> Outcome {
    let folder = tempfile::tempdir()?;
    let server = Server::start_hub(folder.path(), &[])?;
    let mut publisher = Publisher::new(&server).await?;
    publisher.send("PUT", "/streams/much", b"").await?;
    assert_eq!(soon(publisher.status()).await?, 201);

    let mut stalled = Vec::new();
    for (accept, query) in [
        ("text/event-stream", "?offset=-1"),
        ("text/event-stream", "?offset=now"),
        ("*/*", "?offset=-1&live=sse"),
    ] {
        let path = format!("/streams/much{query}");
        let response = soon(raw::get(server.address, &path, &[("Accept", accept)])).await?;
        assert_eq!(response.status, 200);
        stalled.push(response);
    }

    let messages: u64 = if is_full() { 1024 } else { 256 };
    let mut message = message();
    let (mut first_half, mut second_half) = (0, 0);
    for number in 0..messages {
        // All messages differ.
        message[..8].copy_from_slice(&number.to_be_bytes());
        publisher.send("POST", "/streams/much", &message).await?;
        assert_eq!(soon(publisher.status()).await?, 204);
        let half = if number < messages / 2 {
            &mut first_half
        } else {
            &mut second_half
        };
        *half = server.resident()?.max(*half);
    }
    // A queue per reader would grow by half of the published bytes. The log's tables in memory
    // vary, and use up to a fifth of the published bytes even without readers.
    let growth = messages * MESSAGE as u64 / 4;
    let (first, second) = (first_half / MIB as u64, second_half / MIB as u64);
    println!(
        "{messages} MiB published: {first} MiB resident in the first half, {second} MiB after"
    );
    assert!(second_half < CAP, "{second} MiB resident");
    assert!(
        second_half < first_half + growth,
        "{first} MiB resident in the first half, {second} MiB in the second"
    );

    // A stalled reader is still connected, and misses no message. Each message is one event.
    let mut text = String::new();
    let mut events = 0;
    while events < 20 {
        let chunk = soon(stalled[0].chunk())
            .await?
            .ok_or("the stream has not ended")?;
        text.push_str(std::str::from_utf8(&chunk)?);
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            if event.lines().any(|line| line.starts_with("data:")) {
                events += 1;
                let id = format!("id: {events:016}_");
                assert!(event.lines().any(|line| line.starts_with(&id)), "no {id:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn many_streams_and_idle_readers_need_little_memory_and_end_by_the_deadline() -> Outcome {
    within(limit(), many()).await
}

/// Creates some of the streams on one connection. The requests are pipelined.
async fn create(server: &Server, numbers: Vec<usize>) -> std::io::Result<()> {
    let mut publisher = Publisher::new(server).await?;
    for numbers in numbers.chunks(50) {
        for number in numbers {
            let path = format!("/streams/many/{number}");
            publisher.send("PUT", &path, b"").await?;
        }
        for number in numbers {
            assert_eq!(soon(publisher.status()).await?, 201, "stream {number}");
        }
    }
    Ok(())
}

async fn many() -> Outcome {
    let streams = if is_full() { 100_000 } else { 10_000 };
    let folder = tempfile::tempdir()?;
    let deadline = DEADLINE.as_millis().to_string();
    let mut server = Server::start_hub(folder.path(), &["--deadline-ms", &deadline])?;
    let numbers: Vec<usize> = (0..streams).collect();
    stream::iter(numbers.chunks(streams / 32).map(<[usize]>::to_vec))
        .map(|part| create(&server, part))
        .buffer_unordered(33)
        .try_collect::<()>()
        .await?;
    let created = server.resident()?;
    println!("{streams} streams: {} MiB resident", created / MIB as u64);
    assert!(
        created < CAP,
        "{} MiB for {streams} streams",
        created / MIB as u64
    );

    // One half follows the same stream. Each reader of the other half follows its own stream.
    let readers: Vec<_> = stream::iter(0..IDLE)
        .map(|number| {
            let number = if number % 2 == 0 { 0 } else { number };
            let address = server.address;
            async move {
                let path = format!("/streams/many/{number}");
                raw::get(address, &path, &[("Accept", "text/event-stream")]).await
            }
        })
        .buffered(100)
        .try_collect()
        .await?;
    assert!(readers.iter().all(|reader| reader.status == 200));
    let each = server.resident()?.saturating_sub(created) / IDLE as u64;
    println!("{each} bytes for each of {IDLE} idle readers");
    assert!(each < IDLE_BYTES, "{each} bytes for each idle reader");

    // Idle readers still receive new messages.
    let mut publisher = Publisher::new(&server).await?;
    publisher.send("POST", "/streams/many/0", b"news").await?;
    assert_eq!(soon(publisher.status()).await?, 204);
    let (told, _silent): (Vec<_>, Vec<_>) = readers
        .into_iter()
        .enumerate()
        .partition(|(number, _)| number % 2 == 0);
    let told = stream::iter(told)
        .map(|(_, mut reader)| async move {
            reader.read_until("id: 0000000000000001").await?;
            Ok::<_, std::io::Error>(reader)
        })
        .buffer_unordered(100)
        .try_collect::<Vec<_>>();
    let _told = within(Duration::from_secs(30), told).await?;

    let start = Instant::now();
    server.terminate()?;
    let status = server.exit(DEADLINE + SLACK).await?;
    assert!(status.success(), "{status}");
    println!("ended after {:?}", start.elapsed());
    assert!(start.elapsed() < DEADLINE + SLACK, "{:?}", start.elapsed());

    let server = Server::start_hub(folder.path(), &[])?;
    for (number, length) in [(0, 1), (1, 0), (streams - 1, 0)] {
        let path = format!("/streams/many/{number}?live=false");
        let response = soon(raw::get(server.address, &path, &[])).await?;
        assert_eq!(response.status, 200);
        let next = response.header("stream-next-offset").unwrap_or_default();
        assert!(next.starts_with(&format!("{length:016}_")), "{next}");
    }
    Ok(())
}
