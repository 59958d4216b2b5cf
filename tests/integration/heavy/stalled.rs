//! Readers that have stopped reading must cost the server nothing that grows.

use std::time::Duration;

use crate::{
    Outcome,
    child::Server,
    raw,
    served::{soon, within},
};

const MIB: u64 = 1024 * 1024;
/// What goes past the stalled readers.
const PUBLISHED: u64 = 300 * MIB;
/// What the process may hold in all, with its code and its runtime.
const CAP: u64 = 48 * MIB;

async fn drain(server: &Server, format: &str) -> Outcome {
    let mut reader = soon(raw::get(
        server.address,
        &format!("/flood?format={format}"),
        &[],
    ))
    .await?;
    let mut seen = 0;
    while seen < PUBLISHED {
        seen += soon(reader.chunk())
            .await?
            .ok_or("the flood has no end")?
            .len() as u64;
    }
    Ok(())
}

#[tokio::test]
async fn stalled_readers_do_not_grow_the_server_while_others_read_300_mib() -> Outcome {
    for format in ["ndjson", "sse"] {
        let server = Server::start(Duration::from_secs(1))?;
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let path = format!("/flood?format={format}");
            stalled.push(soon(raw::get(server.address, &path, &[])).await?);
        }
        within(Duration::from_secs(60), drain(&server, format)).await?;
        let resident = server.resident()?;
        assert!(resident < CAP, "{format}: {} MiB resident", resident / MIB);

        // They were stalled, not lost: what follows is whole.
        let text = soon(stalled[0].read_until("\"n\":3,")).await?;
        assert!(text.contains("\"n\":1,") && text.contains("\"n\":2,"));
    }
    Ok(())
}
