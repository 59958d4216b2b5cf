//! The memory of a server must not grow with readers that have stopped reading.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::{
    Outcome,
    child::Server,
    raw,
    served::{soon, within},
};

const MIB: u64 = 1024 * 1024;
/// Maximum resident memory of the process in bytes, with its code and its runtime.
const CAP: u64 = 48 * MIB;

/// Reads `size` bytes while `count` other readers of the same path are stalled, and checks the
/// memory. Returns the stalled readers, which can still read.
async fn check(
    path: &str,
    count: usize,
    size: u64,
) -> Result<Vec<raw::Response<TcpStream>>, Box<dyn std::error::Error>> {
    let server = Server::start(Duration::from_secs(1))?;
    let mut stalled = Vec::new();
    for _ in 0..count {
        stalled.push(soon(raw::get(server.address, path, &[])).await?);
    }
    let mut reader = soon(raw::get(server.address, path, &[])).await?;
    let mut seen = 0;
    while seen < size {
        seen += soon(reader.chunk())
            .await?
            .ok_or("the flood has no end")?
            .len() as u64;
    }
    let resident = server.resident()?;
    assert!(resident < CAP, "{path}: {} MiB resident", resident / MIB);

    // The stalled readers are still connected, and receive more chunks.
    for reader in &mut stalled {
        let mut seen = 0;
        while seen < 8 * 64 * 1024 {
            seen += soon(reader.chunk())
                .await?
                .ok_or("the flood has no end")?
                .len();
        }
    }
    Ok(stalled)
}

#[tokio::test]
async fn stalled_readers_do_not_grow_server_memory_while_another_reads_300_mib() -> Outcome {
    within(
        Duration::from_secs(60),
        check("/flood-of-bytes", 20, 300 * MIB),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn stalled_readers_of_items_do_not_grow_server_memory() -> Outcome {
    for format in ["ndjson", "sse"] {
        let path = format!("/flood?format={format}");
        let limit = Duration::from_secs(60);
        let mut stalled = within(limit, check(&path, 5, 40 * MIB)).await?;
        let text = soon(stalled[0].read_until("\"n\":12,")).await?;
        assert!(text.contains("\"n\":11,"), "no item is missing");
    }
    Ok(())
}
