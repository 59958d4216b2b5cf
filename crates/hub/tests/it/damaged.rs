//! Reads of a stream with a damaged message in its middle.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use headwater_hub::Hub;
use headwater_log::{Append, Create, DiskLog, DiskOptions, Durability, Log, Settings, StreamName};
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

const MESSAGES: usize = 400;

fn options() -> DiskOptions {
    let mut options = DiskOptions::default();
    options.durability = Durability::Os;
    options.accept_damage = true;
    options
}

/// Returns the file of a folder with the most bytes that aren't zero.
fn fullest(folder: &Path) -> (PathBuf, usize) {
    let files = fs::read_dir(folder).expect("it is readable");
    let files = files.map(|file| file.expect("it is readable").path());
    let filled = files.filter(|path| path.is_file()).map(|path| {
        let bytes = fs::read(&path).expect("it is readable");
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        (path, end)
    });
    filled.max_by_key(|(_, end)| *end).expect("there are files")
}

async fn get(app: &axum::Router, offset: &str) -> Response {
    let request = Request::get(format!("/streams/a?offset={offset}")).header("host", "localhost");
    let request = request.body(Body::empty()).expect("it is a request");
    let sent = app.clone().oneshot(request).await;
    sent.expect("it never fails")
}

/// Returns a folder with a stream whose messages begin with their numbers.
async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    let name = StreamName::new("a").expect("it is valid");
    let log = DiskLog::open(folder.path(), options()).expect("it is empty");
    let create = Create::new(Settings::of_type("application/json"));
    log.create(&name, create).await.expect("it is new");
    for n in 0..MESSAGES {
        let message = Bytes::from(format!("\"{n:04}{}\"", "x".repeat(10_000)));
        log.append(&name, Append::new(vec![message]))
            .await
            .expect("there is room");
    }
    folder
}

/// Damages a message. Returns its number.
fn damage(folder: &Path) -> usize {
    let (file, end) = fullest(&folder.join("log"));
    let bytes = fs::read(&file).expect("it is readable");
    let at = end / 2;
    let start = bytes[..at].iter().rposition(|byte| *byte == b'"');
    let start = start.expect("a message begins there") + 1;
    let number = std::str::from_utf8(&bytes[start..start + 4]).expect("it is a number");
    let file = fs::OpenOptions::new().write(true).open(file);
    let file = file.expect("it is writable");
    file.write_at(b"damage", at as u64).expect("it is written");
    number.parse().expect("it is a number")
}

/// Reads a stream until it is refused. Returns the number of messages and of responses that were cut.
async fn read(app: &axum::Router) -> (usize, usize) {
    let (mut at, mut read, mut cuts) = ("-1".to_owned(), 0, 0);
    let refusal = loop {
        let response = get(app, &at).await;
        if response.status() != 200 {
            break response;
        }
        let next = response.headers()["stream-next-offset"].clone();
        match response.into_body().collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                let messages: Vec<String> = serde_json::from_slice(&body).expect("it is complete");
                assert!(!messages.is_empty(), "it makes progress");
                for message in &messages {
                    assert_eq!(message[..4], format!("{read:04}"), "in order");
                    read += 1;
                }
                at = next.to_str().expect("it is ASCII").to_owned();
            }
            Err(_) => cuts += 1,
        }
        assert!(cuts <= 1, "a response is cut once");
    };
    assert_eq!(refusal.status(), 500);
    let body = refusal.into_body().collect().await.expect("it is complete");
    let text = String::from_utf8(body.to_bytes().to_vec()).expect("it is UTF-8");
    assert!(text.contains("damaged"), "{text}");
    (read, cuts)
}

#[tokio::test]
async fn a_reader_gets_everything_before_the_damage_and_then_its_error() {
    let folder = filled().await;
    let log: Arc<dyn Log> = Arc::new(DiskLog::open(folder.path(), options()).expect("it is whole"));
    let damaged = damage(folder.path());
    assert!((150..250).contains(&damaged), "{damaged} of {MESSAGES}");
    let app = Hub::new(log).app().into_router();
    assert_eq!(read(&app).await, (damaged, 1));
    assert_eq!(read(&app).await, (damaged, 0));
}

#[tokio::test]
async fn damage_that_is_accepted_cuts_no_response() {
    let folder = filled().await;
    let damaged = damage(folder.path());
    let log: Arc<dyn Log> = Arc::new(DiskLog::open(folder.path(), options()).expect("accepted"));
    let app = Hub::new(log).app().into_router();
    assert_eq!(read(&app).await, (damaged, 0));
}

#[tokio::test]
async fn a_reader_of_lines_gets_everything_before_the_damage() {
    let folder = filled().await;
    let log: Arc<dyn Log> = Arc::new(DiskLog::open(folder.path(), options()).expect("it is whole"));
    let damaged = damage(folder.path());
    let app = Hub::new(log).app().into_router();
    let request = Request::get("/streams/a?offset=-1")
        .header("host", "localhost")
        .header("accept", "application/x-ndjson");
    let request = request.body(Body::empty()).expect("it is a request");
    let response = app.oneshot(request).await.expect("it never fails");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut lines = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            lines.extend_from_slice(data);
        }
    }
    let messages = lines
        .split(|byte| *byte == b'\n')
        .filter(|it| it.starts_with(b"\""));
    assert_eq!(messages.count(), damaged);
}

#[tokio::test]
async fn a_reader_of_all_streams_gets_a_notice_in_place_of_the_damage() {
    let folder = filled().await;
    let damaged = damage(folder.path());
    let log: Arc<dyn Log> = Arc::new(DiskLog::open(folder.path(), options()).expect("accepted"));
    let app = Hub::new(log).app().into_router();
    let request = Request::get("/events?stream=**&live=false").header("host", "localhost");
    let request = request.body(Body::empty()).expect("it is a request");
    let response = app.oneshot(request).await.expect("it never fails");
    assert_eq!(response.status(), 200);
    let body = response
        .into_body()
        .collect()
        .await
        .expect("it is complete");
    let body = body.to_bytes();
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let lines: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_slice(line).expect("it is JSON"))
        .collect();
    assert_eq!(lines.len(), MESSAGES);
    for (number, line) in lines.iter().enumerate() {
        let offset = line["offset"].as_str().expect("it has one");
        assert_eq!(offset[..16], format!("{:016}", number + 1));
        if number == damaged {
            assert_eq!(line["trimmed"], true);
            let from = line["damaged_from"].as_str().expect("it has one");
            assert_eq!(from[..16], format!("{number:016}"));
        } else {
            let data = line["data"].as_str().expect("it is a message");
            assert_eq!(data[..4], format!("{number:04}"));
        }
    }
}
