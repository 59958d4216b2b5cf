//! A server that is killed in mid-stream. A reader must see a truncated stream, never a clean end.

use std::time::Duration;

use headwater_tests::Numbered;
use headwater_wire::Format;

use crate::{Outcome, child::Server, raw, served::soon};

const DEADLINE: Duration = Duration::from_secs(1);
const PATH: &str = "/items?every_ms=5";

#[tokio::test]
async fn a_client_reports_a_truncated_stream_in_every_format() -> Outcome {
    for format in Format::ALL {
        let mut server = Server::start(DEADLINE)?;
        let url = server.url(&format!("{PATH}&format={}", format.name()));
        let request = headwater_client::get(&url).reconnect(false);
        let error = match format {
            // In the text format, every line is an item, so it is read as lines.
            Format::Text => {
                let mut lines = soon(request.lines()).await?;
                for _ in 0..3 {
                    soon(lines.next()).await.ok_or("too few lines")??;
                }
                server.crash()?;
                loop {
                    match soon(lines.next()).await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break error,
                        None => panic!("{format:?}: a killed server looked like a quiet end"),
                    }
                }
            }
            _ => {
                let mut items = soon(request.stream::<Numbered>()).await?;
                for n in 1..=3 {
                    let item = soon(items.next()).await.ok_or("too few items")??;
                    assert_eq!(item, Numbered::new(n));
                }
                server.crash()?;
                loop {
                    match soon(items.next()).await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break error,
                        None => panic!("{format:?}: a killed server looked like a quiet end"),
                    }
                }
            }
        };
        assert!(error.is_truncated(), "{format:?}: {error}");
    }
    Ok(())
}

#[test]
fn a_blocking_client_reports_a_truncated_stream() -> Outcome {
    let mut server = Server::start(DEADLINE)?;
    let url = server.url(&format!("{PATH}&format=ndjson"));
    let mut items = headwater_client::blocking::get(&url).stream::<Numbered>()?;
    for n in 1..=3 {
        assert_eq!(items.next().ok_or("too few items")??, Numbered::new(n));
    }
    server.crash()?;
    let error = items
        .find_map(Result::err)
        .expect("a killed server is no quiet end");
    assert!(error.is_truncated(), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_body_of_a_killed_server_has_no_last_chunk() -> Outcome {
    for format in Format::ALL {
        let mut server = Server::start(DEADLINE)?;
        let path = format!("{PATH}&format={}", format.name());
        let mut response = soon(raw::get(server.address, &path, &[])).await?;
        soon(response.chunk())
            .await?
            .ok_or("the stream has items")?;
        server.crash()?;
        let (_, ended_cleanly) = soon(response.rest()).await;
        assert!(!ended_cleanly, "{format:?}");
    }
    Ok(())
}
