//! An import of streams.

use std::{cell::RefCell, sync::Arc, time::Duration};

use headwater::test::TestClient;
use headwater_hub::{Hub, Limits, Options};
use headwater_log::{Digest, Log, MemoryLog, MemoryOptions, ReadFrom};
use tokio::runtime::Runtime;

use crate::memory::Meter;

/// Checks that an import is refused, or has streams that can be read, exported and imported again.
///
/// The digests of the input are made right first, as no search would find one.
///
/// # Panics
/// If it isn't, or hasn't.
pub fn import(input: &[u8]) {
    let input = with_digests(input);
    HUBS.with(|hubs| {
        let mut hubs = hubs.borrow_mut();
        let Hubs {
            runtime,
            hubs: [one, other],
        } = hubs.get_or_insert_with(Hubs::new);
        runtime.block_on(async {
            let meter = Meter::start();
            let status = one.import(&input).await;
            meter.check(input.len(), 4 << 20, 256);
            assert!(matches!(status, 200 | 400 | 409 | 413), "status {status}");
            let exported = one.export().await;
            assert_eq!(other.import(&exported).await, 200, "it isn't read again");
            let again = other.export().await;
            assert_eq!(without_own(&exported, 1), without_own(&again, 2));
            one.clean().await;
            other.clean().await;
        });
    });
}

/// Returns the lines of an export without what copies don't share: the first line, which has the time, the marks of
/// as many copies, and the digests, which cover the marks.
fn without_own(export: &[u8], copies: usize) -> Vec<String> {
    let lines = std::str::from_utf8(export).expect("it is text").lines();
    let shared = |line: &str| {
        if !line.starts_with("{\"stream\"") && !line.starts_with("{\"end\"") {
            return line.to_owned();
        }
        let mut line: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        line["digest"].take();
        if let Some(marks) = line["marks"].as_array_mut() {
            marks.truncate(marks.len().saturating_sub(copies));
        }
        line.to_string()
    };
    lines.skip(1).map(shared).collect()
}

/// Replaces the digest of each last line of a stream by that of its lines.
fn with_digests(input: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"\"digest\":\"";
    let mut out = Vec::with_capacity(input.len());
    let mut digest = Digest::EMPTY;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let at = line.windows(NAME.len()).position(|bytes| bytes == NAME);
        match at.map(|at| at + NAME.len()) {
            Some(at) if line.starts_with(b"{\"end\"") && line.len() > at + 32 => {
                out.extend_from_slice(&line[..at]);
                out.extend_from_slice(digest.to_string().as_bytes());
                out.extend_from_slice(&line[at + 32..]);
            }
            _ => out.extend_from_slice(line),
        }
        if text.starts_with(b"{\"stream\"") {
            digest = Digest::EMPTY;
        }
        if !text.trim_ascii().is_empty() {
            digest.add(text);
        }
    }
    out
}

struct Hubs {
    runtime: Runtime,
    hubs: [Server; 2],
}

struct Server {
    log: Arc<MemoryLog>,
    client: TestClient,
}

thread_local! {
    static HUBS: RefCell<Option<Hubs>> = const { RefCell::new(None) };
}

impl Hubs {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let hubs = runtime.block_on(async { [Server::new().await, Server::new().await] });
        Self { runtime, hubs }
    }
}

impl Server {
    async fn new() -> Self {
        let mut limits = Limits::default();
        limits.body_bytes = 1024;
        let mut options = MemoryOptions::default();
        // No thread sweeps meanwhile.
        options.reclaim_every = Duration::from_secs(3600);
        let log = Arc::new(MemoryLog::new(options));
        let hub = Hub::with_options(log.clone(), Options::new().limits(limits));
        let client = TestClient::new(hub.app());
        let server = Self { log, client };
        // The first request builds what all share: that isn't the input's.
        server.export().await;
        server
    }

    async fn import(&self, lines: &[u8]) -> u16 {
        let request = self.client.request(http::Method::POST, "/import");
        let response = request.body(lines.to_vec()).send().await;
        response.status().as_u16()
    }

    async fn export(&self) -> Vec<u8> {
        let page = self.log.list("", None, 1000).await;
        for info in page.expect("streams can be listed").streams {
            let chunk = self.log.read(&info.name, ReadFrom::Start, usize::MAX).await;
            assert!(chunk.is_ok() || self.log.info(&info.name).await.is_err());
        }
        let response = self.client.get("/export").send().await;
        assert_eq!(response.status(), 200);
        response.text().await.into_bytes()
    }

    async fn clean(&self) {
        let lines = self.export().await;
        for line in lines.split(|byte| *byte == b'\n') {
            let stream = serde_json::from_slice::<serde_json::Value>(line).ok();
            let name = stream.as_ref().and_then(|line| line["stream"].as_str());
            if let Some(name) = name.and_then(|name| name.parse().ok()) {
                // It may end by itself meanwhile.
                let _ = self.log.delete(&name).await;
            }
        }
    }
}
