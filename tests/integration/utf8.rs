//! Bytes that are not valid UTF-8, from a server and from a client.

use axum::{Router, extract::Path, http::HeaderValue, routing::get};
use bytes::Bytes;
use futures_util::stream;
use headwater::Raw;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    Outcome, raw,
    served::{Served, soon},
};

/// Returns an application in which `/{format}` sends a valid item, and an item with a byte that
/// never occurs in UTF-8.
fn app() -> Router {
    let handler = |Path(format): Path<String>| async move {
        let (content_type, body): (_, &[u8]) = match format.as_str() {
            "sse" => (
                "text/event-stream",
                b"data: \"good\"\n\ndata: \"bad \xff\"\n\n",
            ),
            "ndjson" => ("application/x-ndjson", b"\"good\"\n\"bad \xff\"\n"),
            "json-seq" => ("application/json-seq", b"\x1e\"good\"\n\x1e\"bad \xff\"\n"),
            "json" => ("application/json", b"[\"good\",\"bad \xff\"]"),
            _ => ("text/plain; charset=utf-8", b"good\nbad \xff\n"),
        };
        Raw::bytes(stream::iter([Bytes::from_static(body)]))
            .content_type(HeaderValue::from_static(content_type))
    };
    Router::new().route("/{format}", get(handler))
}

#[tokio::test]
async fn invalid_utf8_in_an_item_is_an_error_with_its_position() -> Outcome {
    let server = Served::new(app()).await;
    for format in ["ndjson", "json-seq", "json", "text"] {
        let request = headwater_client::get(server.url(&format!("/{format}")));
        let mut items = soon(request.stream::<String>()).await?;
        assert_eq!(
            soon(items.next()).await.ok_or("no item")??,
            "good",
            "{format}"
        );
        let error = soon(items.next())
            .await
            .ok_or("a quiet end")?
            .expect_err("it is no UTF-8");
        assert!(error.is_decode(), "{format}: {error}");
        let shown = format!("{error}: {}", sources(&error));
        assert!(
            shown.contains("UTF-8") && shown.contains("byte"),
            "{format}: {shown}"
        );
    }
    Ok(())
}

fn sources(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(error.source(), |error| error.source());
    chain
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[tokio::test]
async fn sse_decodes_invalid_utf8_to_the_replacement_character() -> Outcome {
    // HTML: an event stream is decoded with "UTF-8 decode", which replaces invalid bytes.
    let server = Served::new(app()).await;
    let request = headwater_client::get(server.url("/sse")).reconnect(false);
    let mut items = soon(request.stream::<String>()).await?;
    assert_eq!(soon(items.next()).await.ok_or("no item")??, "good");
    assert_eq!(soon(items.next()).await.ok_or("no item")??, "bad \u{fffd}");
    Ok(())
}

#[tokio::test]
async fn a_request_with_invalid_utf8_gets_a_response_and_does_not_affect_others() -> Outcome {
    let server = Served::new(headwater_tests::app()).await;
    for request in [
        b"GET /items?count=1 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: \xff\xfe\r\n\r\n"
            .as_slice(),
        b"GET /items?count=1&format=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /items?count=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /items?count=1 HTTP/1.1\r\nHost: localhost\r\nAccept: \xff\r\n\r\n",
    ] {
        let mut connection = TcpStream::connect(server.address).await?;
        connection.write_all(request).await?;
        let response = soon(raw::read_head(connection)).await?;
        assert!(response.status == 200 || (400..500).contains(&response.status));
    }
    let items: Vec<Value> =
        soon(headwater_client::get(server.url("/items?count=2&format=json")).value()).await?;
    assert_eq!(items.len(), 2);
    Ok(())
}
