//! HTTP/2 over TLS.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{Request, StatusCode},
};
use tokio::time::timeout;

use super::{
    Certificate, Client, LIMIT, app,
    client::{self, http2},
    start,
};
use crate::connections::{self, Dropped};

#[tokio::test]
async fn a_disconnect_is_detected_over_http2() {
    let certificate = Certificate::new();
    let dropped = Dropped::default();
    let server = start(connections::app(&dropped), &certificate, |serve| serve).await;
    let socket = Client::new(&certificate)
        .alpn(&["h2"])
        .connect(&server)
        .await
        .unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client: h2::client::SendRequest<Bytes> = client.ready().await.unwrap();
    let request = Request::get("https://localhost/silent").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    connection.abort();
    dropped.within(Duration::from_secs(2)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_stalled_http2_stream_is_reset_and_the_others_continue() {
    let certificate = Certificate::new();
    let dropped = Dropped::default();
    let server = start(connections::app(&dropped), &certificate, |serve| {
        serve.write_timeout(Duration::from_millis(500))
    })
    .await;
    let socket = Client::new(&certificate)
        .alpn(&["h2"])
        .connect(&server)
        .await
        .unwrap();
    let mut client = http2(socket).await;
    let request = Request::get("https://localhost/flood").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let mut flood = response.await.unwrap().into_body();
    dropped.within(Duration::from_secs(5)).await;
    let ended = timeout(LIMIT, async {
        loop {
            match flood.data().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        }
    });
    assert!(ended.await.unwrap().is_some_and(|end| end.is_err()));
    let (status, _) = client::get(&mut client, "https://localhost/").await;
    assert_eq!(status, StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn each_of_300_streams_of_a_connection_is_served_or_refused() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| serve).await;
    // This client waits for room, as browsers do.
    let socket = Client::new(&certificate)
        .alpn(&["h2"])
        .connect(&server)
        .await
        .unwrap();
    let mut client = http2(socket).await;
    // It learns the limit with the first response.
    client::get(&mut client, "https://localhost/").await;
    let gets = (0..300).map(|_| {
        let mut client = client.clone();
        async move { client::get(&mut client, "https://localhost/brief").await }
    });
    let answers = timeout(LIMIT, futures_util::future::join_all(gets))
        .await
        .unwrap();
    for (status, body) in answers {
        assert_eq!((status, &*body), (StatusCode::OK, "done"));
    }
    // This one ignores the limit.
    let socket = Client::new(&certificate)
        .alpn(&["h2"])
        .connect(&server)
        .await
        .unwrap();
    let ended = timeout(LIMIT, client::http2_without_limit(socket, 300, "/brief"));
    let ended = ended.await.expect("a stream hangs");
    assert_eq!(ended.served + ended.refused, 300, "{ended:?}");
    assert!(ended.served >= 256 && ended.refused > 0, "{ended:?}");
    server.stop().await;
}
