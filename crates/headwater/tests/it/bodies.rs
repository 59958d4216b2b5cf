//! Compressed and slow bodies.

use std::{convert::Infallible, time::Duration};

use async_compression::tokio::bufread::{GzipEncoder, ZlibEncoder};
#[cfg(not(feature = "openapi"))]
use axum::Json;
use axum::{Router, body::Body, extract::DefaultBodyLimit, routing::post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
#[cfg(feature = "openapi")]
use headwater::Json;
use headwater::{BodyClock, Problem, Undecodable, test::TestClient};
use http::HeaderMap;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::serve::{read_until, start_app};

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct Note {
    text: String,
}

const LIMIT: usize = 100_000;

fn app() -> Router {
    Router::new()
        .route("/json", post(async |Json(note): Json<Note>| note.text))
        .route("/bytes", post(async |body: Bytes| body))
        .route("/string", post(async |body: String| body))
        .route(
            "/headers",
            post(async |headers: HeaderMap| {
                let known = ["content-encoding", "content-length"];
                known
                    .map(|name| headers.contains_key(name).to_string())
                    .join(" ")
            }),
        )
        .route(
            "/pieces",
            // Echoes each piece as it arrives.
            post(async |body: Body| {
                let pieces = body.into_data_stream();
                Body::from_stream(pieces.map(|piece| Ok::<_, Infallible>(piece.unwrap())))
            }),
        )
        .route(
            "/why",
            post(async |mut body: Body| {
                while let Some(frame) = body.frame().await {
                    if let Err(error) = frame {
                        let why = Undecodable::of(&error).map(ToString::to_string);
                        return Problem::bad_request(why.unwrap_or_default());
                    }
                }
                Problem::not_found("no error")
            }),
        )
        .layer(DefaultBodyLimit::max(LIMIT))
}

async fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzipEncoder::new(plain).read_to_end(&mut out).await.unwrap();
    out
}

async fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZlibEncoder::new(plain).read_to_end(&mut out).await.unwrap();
    out
}

async fn send(path: &str, coding: &str, body: Vec<u8>) -> (u16, String) {
    let request = TestClient::new(app())
        .post(path)
        .header("content-encoding", coding);
    let response = request
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await;
    (response.status().as_u16(), response.text().await)
}

#[tokio::test]
async fn every_extractor_receives_the_decoded_body() {
    let note = br#"{"text":"hello"}"#;
    for coding in ["gzip", "x-gzip", "GZIP", "identity, gzip", "gzip,"] {
        let (status, text) = send("/json", coding, gzip(note).await).await;
        assert_eq!((status, &*text), (200, "hello"), "{coding}");
    }
    for path in ["/bytes", "/string", "/pieces"] {
        let sent = send(path, "deflate", zlib(note).await).await;
        assert_eq!(sent.1.as_bytes(), note, "{path}");
    }
    // Concatenated members.
    let both = [gzip(b"one, ").await, gzip(b"two").await].concat();
    assert_eq!(send("/bytes", "gzip", both).await.1, "one, two");
    assert_eq!(
        send("/bytes", "identity", b"plain".to_vec()).await.1,
        "plain"
    );
    assert_eq!(send("/bytes", "", b"plain".to_vec()).await.1, "plain");
    assert_eq!(
        send("/bytes", "gzip", Vec::new()).await,
        (200, String::new())
    );
    assert_eq!(
        send("/headers", "gzip", gzip(note).await).await.1,
        "false false"
    );
}

#[tokio::test]
async fn unknown_and_multiple_codings_are_refused_with_the_supported_ones() {
    for coding in [
        "br",
        "zstd",
        "compress",
        "gzip, gzip",
        "gzip, br",
        "nonsense",
        "*",
    ] {
        let request = TestClient::new(app())
            .post("/bytes")
            .header("content-encoding", coding);
        let response = request.body("x").send().await;
        assert_eq!(response.status(), 415, "{coding}");
        assert_eq!(
            response.headers()["accept-encoding"],
            "gzip, deflate",
            "{coding}"
        );
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
}

#[tokio::test]
async fn the_limit_of_a_body_counts_decoded_bytes() {
    let fits = vec![b'a'; LIMIT];
    assert_eq!(send("/bytes", "gzip", gzip(&fits).await).await.0, 200);
    let over = vec![b'a'; LIMIT + 1];
    assert_eq!(send("/bytes", "gzip", gzip(&over).await).await.0, 413);
    let bomb = gzip(&vec![0; 64 << 20]).await;
    assert!(bomb.len() < LIMIT);
    for path in ["/bytes", "/string", "/json"] {
        assert_eq!(send(path, "gzip", bomb.clone()).await.0, 413, "{path}");
    }
}

#[tokio::test]
async fn invalid_encoded_bodies_are_refused_with_the_reason() {
    let whole = gzip(br#"{"text":"hello"}"#).await;
    let cut = whole[..whole.len() - 5].to_vec();
    let mut wrong = whole.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let tail = [zlib(b"{}").await, b"more".to_vec()].concat();
    for (coding, body, why) in [
        ("gzip", b"plain".to_vec(), "not valid gzip"),
        ("gzip", cut, "gzip that ends too early"),
        ("gzip", wrong, "not valid gzip"),
        ("gzip", [whole, b"more".to_vec()].concat(), "gzip"),
        ("deflate", b"plain".to_vec(), "not valid deflate"),
        ("deflate", tail, "something follows its end"),
    ] {
        for path in ["/json", "/bytes", "/why"] {
            let (status, text) = send(path, coding, body.clone()).await;
            assert_eq!(status, 400, "{path} {coding} {why}: {text}");
            assert!(text.contains(why), "{path} {coding} {why}: {text}");
        }
    }
}

#[tokio::test]
async fn flushed_data_is_decoded_before_the_rest_arrives() {
    let server = start_app(app(), |serve| serve).await;
    let mut socket = server.connect().await;
    let head = "POST /pieces HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut encoder = async_compression::tokio::write::GzipEncoder::new(Vec::new());
    let mut sent = 0;
    for line in ["one\n", "two\n", "three\n"] {
        encoder.write_all(line.as_bytes()).await.unwrap();
        encoder.flush().await.unwrap();
        let piece = &encoder.get_ref()[sent..];
        sent += piece.len();
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        socket.write_all(&chunk).await.unwrap();
        read_until(&mut socket, line).await;
    }
    drop(socket);
    server.stop().await;
}

#[tokio::test]
async fn a_truncated_compressed_body_is_not_reported_as_a_coding_error() {
    let broken = stream::iter([
        Ok(gzip(b"hello").await[..5].to_vec()),
        Err(std::io::Error::other("broke off")),
    ]);
    let mut request = http::Request::post("/why")
        .body(Body::from_stream(broken))
        .unwrap();
    request
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    let app = tower_layer::Layer::layer(&headwater::layer(), app());
    let answer = tower_service::Service::call(&mut { app }, request);
    let Ok(response) = tokio::time::timeout(Duration::from_secs(5), answer)
        .await
        .unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(!body.contains("gzip"), "{body}");
}

#[tokio::test]
async fn a_slow_body_is_answered_with_408_by_every_extractor() {
    let app = Router::new()
        .route("/json", post(async |Json(note): Json<Note>| note.text))
        .route("/bytes", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/stream",
            post(async |body: Body| match body.collect().await {
                Ok(body) => Ok(body.to_bytes().len().to_string()),
                Err(error) => Err(Problem::from(error)),
            }),
        )
        .route(
            "/patient",
            post(async |clock: BodyClock, body: Bytes| {
                let _ = clock;
                body.len().to_string()
            }),
        )
        .route(
            "/endless",
            post(async |clock: BodyClock, body: Body| {
                clock.suspend();
                body.collect().await.unwrap().to_bytes().len().to_string()
            }),
        );
    let server = start_app(app, |serve| {
        serve
            .min_body_rate(1000)
            .body_grace(Duration::from_millis(500))
    })
    .await;
    let slow = async |path: &str| {
        let mut socket = server.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            if socket.write_all(b"x").await.is_err() {
                break;
            }
        }
        read_until(&mut socket, "\r\n\r\n").await
    };
    let (json, bytes, stream, patient, endless) = tokio::join!(
        slow("/json"),
        slow("/bytes"),
        slow("/stream"),
        slow("/patient"),
        slow("/endless"),
    );
    for answer in [json, bytes, stream, patient] {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert!(endless.starts_with("HTTP/1.1 200 "), "{endless}");
    server.stop().await;
}
