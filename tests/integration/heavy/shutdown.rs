//! SIGTERM with open streams.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use headwater_tests::Numbered;
use tokio::net::TcpStream;

use crate::{
    Outcome,
    child::Server,
    raw,
    served::{soon, within},
};

const DEADLINE: Duration = Duration::from_secs(5);
/// Tolerance of a deadline, for a busy machine.
const SLACK: Duration = Duration::from_secs(2);

async fn connect(
    server: &Server,
    path: &str,
    count: usize,
) -> std::io::Result<Vec<raw::Response<TcpStream>>> {
    let connect = |_| raw::get(server.address, path, &[]);
    let responses: Vec<_> = stream::iter(0..count)
        .map(connect)
        .buffer_unordered(50)
        .collect()
        .await;
    responses.into_iter().collect()
}

#[tokio::test]
async fn a_thousand_idle_streams_receive_a_retry_time_and_are_cut_by_the_deadline() -> Outcome {
    let mut server = Server::start(DEADLINE)?;
    let readers = within(
        Duration::from_secs(20),
        connect(&server, "/idle?format=sse", 1_000),
    )
    .await?;
    assert!(readers.iter().all(|reader| reader.status == 200));

    let start = Instant::now();
    server.terminate()?;
    let read = |mut reader: raw::Response<TcpStream>| async move { reader.rest().await };
    let reading = stream::iter(readers)
        .map(read)
        .buffer_unordered(1_000)
        .collect::<Vec<_>>();
    let bodies = within(DEADLINE + SLACK, reading).await;
    let status = server.exit(DEADLINE + SLACK).await?;
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < DEADLINE + SLACK, "{:?}", start.elapsed());

    let mut retries = BTreeSet::new();
    for (body, ended_cleanly) in bodies {
        let body = String::from_utf8(body)?;
        assert!(
            !ended_cleanly,
            "a stream that was cut must not look complete: {body:?}"
        );
        let retry = body.lines().find_map(|line| line.strip_prefix("retry:"));
        let retry: u64 = retry
            .ok_or_else(|| format!("no retry: in {body:?}"))?
            .trim()
            .parse()?;
        retries.insert(retry);
    }
    // The retry times differ, so that the clients don't all reconnect to the next server at once.
    assert!(
        retries.len() > 100,
        "only {} different times to come back",
        retries.len()
    );
    let spread = retries
        .last()
        .zip(retries.first())
        .map(|(last, first)| last - first);
    assert!(
        spread >= Some(500),
        "they all come back within {spread:?} ms"
    );
    Ok(())
}

#[tokio::test]
async fn idle_streams_without_sse_are_cut_too() -> Outcome {
    for format in ["ndjson", "json-seq", "json", "text"] {
        let mut server = Server::start(DEADLINE)?;
        let path = format!("/idle?format={format}");
        let readers = soon(connect(&server, &path, 10)).await?;
        server.terminate()?;
        for mut reader in readers {
            let (body, ended_cleanly) = within(DEADLINE + SLACK, reader.rest()).await;
            assert!(
                !ended_cleanly,
                "{format}: {:?}",
                String::from_utf8_lossy(&body)
            );
        }
        assert!(server.exit(DEADLINE + SLACK).await?.success(), "{format}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_without_streams_exits_at_once() -> Outcome {
    let mut server = Server::start(Duration::from_secs(60))?;
    let mut response = soon(raw::get(server.address, "/items?count=1", &[])).await?;
    assert!(soon(response.rest()).await.1);
    // The connection is kept alive but idle, so the server doesn't wait for it.
    server.terminate()?;
    assert!(server.exit(SLACK).await?.success());
    Ok(())
}

#[tokio::test]
async fn stalled_readers_do_not_delay_the_exit_past_the_deadline() -> Outcome {
    let deadline = Duration::from_secs(2);
    let mut server = Server::start(deadline)?;
    let stalled = soon(connect(&server, "/flood-of-bytes", 20)).await?;
    server.terminate()?;
    assert!(server.exit(deadline + SLACK).await?.success());
    drop(stalled);
    Ok(())
}

#[tokio::test]
async fn a_stream_that_may_finish_completes_before_the_deadline() -> Outcome {
    let mut server = Server::start(DEADLINE)?;
    let path = "/last-words?count=10&every_ms=100&format=ndjson";
    let mut response = soon(raw::get(server.address, path, &[])).await?;
    let mut body = soon(response.read_until("\"n\":1,")).await?;
    server.terminate()?;
    let (rest, ended_cleanly) = soon(response.rest()).await;
    body.push_str(&String::from_utf8(rest)?);
    assert!(ended_cleanly, "{body}");
    let items = body
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Numbered>, _>>()?;
    assert_eq!(items, (1..=10).map(Numbered::new).collect::<Vec<_>>());
    assert!(server.exit(DEADLINE).await?.success());
    Ok(())
}

#[tokio::test]
async fn new_requests_are_refused_after_the_signal() -> Outcome {
    let mut server = Server::start(DEADLINE)?;
    let path = "/last-words?count=10&every_ms=100";
    let mut response = soon(raw::get(server.address, path, &[])).await?;
    server.terminate()?;
    // The stream that may finish keeps the process running, but the port is closed.
    let refused = async {
        while raw::get(server.address, "/items?count=1", &[])
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(Duration::from_millis(700), refused).await;
    assert!(soon(response.rest()).await.1);
    assert!(server.exit(DEADLINE).await?.success());
    Ok(())
}
