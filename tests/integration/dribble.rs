//! Bytes that arrive one at a time, in both directions.

use std::{io, net::SocketAddr};

use headwater_tests::{Numbered, app};
use headwater_wire::Format;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    Outcome,
    served::{Served, soon},
};

/// Starts a proxy that forwards to `upstream`, one byte at a time in both directions. Returns its
/// address.
async fn dribbling_proxy(upstream: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, upstream));
        }
    });
    Ok(address)
}

async fn forward(client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        dribble(from_client, to_server),
        dribble(from_server, to_client)
    )?;
    Ok(())
}

async fn dribble(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        for byte in &buffer[..read] {
            to.write_all(&[*byte]).await?;
            // Yields so that the reader runs between two bytes and reads them one at a time.
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn items_decode_in_every_format_when_bytes_arrive_one_at_a_time() -> Outcome {
    let server = Served::new(app()).await;
    let proxy = dribbling_proxy(server.address).await?;
    for format in Format::ALL {
        let url = format!("http://{proxy}/items?count=20&format={}", format.name());
        let expected: Vec<_> = (1..=20).map(Numbered::new).collect();
        let mut seen = Vec::new();
        if format == Format::Text {
            let mut lines = soon(headwater_client::get(&url).lines()).await?;
            while let Some(line) = soon(lines.next()).await {
                seen.push(serde_json::from_str(&line?)?);
            }
        } else {
            let mut items = soon(headwater_client::get(&url).stream::<Numbered>()).await?;
            while let Some(item) = soon(items.next()).await {
                seen.push(item?);
            }
        }
        assert_eq!(seen, expected, "{format:?}");
    }
    Ok(())
}

#[tokio::test]
async fn chunks_of_16_bytes_add_up_to_the_body_when_bytes_arrive_one_at_a_time() -> Outcome {
    let server = Served::new(app()).await;
    let proxy = dribbling_proxy(server.address).await?;
    let path = "/items?count=20&format=ndjson";
    let whole = soon(headwater_client::get(server.url(path)).bytes()).await?;
    let mut chunks =
        soon(headwater_client::get(format!("http://{proxy}{path}")).chunks(16)).await?;
    let mut seen = Vec::new();
    while let Some(chunk) = soon(chunks.next()).await {
        let chunk = chunk?;
        assert!(seen.len() + chunk.len() == whole.len() || chunk.len() == 16);
        seen.extend_from_slice(&chunk);
    }
    assert_eq!(seen, whole);
    Ok(())
}
