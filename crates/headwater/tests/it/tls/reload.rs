//! A certificate that changes while the server runs.

use std::{fs, path::PathBuf, time::Duration};

use axum::{Router, routing::get};
use headwater::{Streaming, Tls};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, sleep},
};

use super::{Certificate, Client, LIMIT, read_until};
use crate::serve::{Server, start_app};

struct Files {
    folder: TempDir,
}

impl Files {
    fn new(certificate: &Certificate) -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        files.write(certificate);
        files
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["cert.pem", "key.pem"].map(|name| self.folder.path().join(name))
    }

    /// Replaces each file, as tools for certificates do.
    fn write(&self, certificate: &Certificate) {
        let contents = [&certificate.pem, &certificate.key];
        for (path, content) in self.paths().iter().zip(contents) {
            let new = path.with_extension("new");
            fs::write(&new, content).unwrap();
            fs::rename(&new, path).unwrap();
        }
    }

    async fn serve(&self) -> Server {
        let ticks = async || {
            let ticks = futures_util::stream::unfold(0_u64, async |n| {
                sleep(Duration::from_millis(100)).await;
                Some((n, n + 1))
            });
            Streaming::new(ticks)
        };
        let app = Router::new().route("/", get(ticks));
        let [certificate, key] = self.paths();
        let tls = Tls::from_pem_files(certificate, key).unwrap();
        start_app(app, |serve| {
            serve.tls(tls).shutdown_deadline(Duration::from_millis(200))
        })
        .await
    }
}

async fn has(server: &Server, certificate: &Certificate) -> bool {
    Client::new(certificate).connect(server).await.is_ok()
}

#[tokio::test]
async fn new_connections_get_the_new_certificate_and_open_streams_continue() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let files = Files::new(&old);
    let server = files.serve().await;
    let mut stream = Client::new(&old).connect(&server).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    read_until(&mut stream, "\r\n1\n").await;
    files.write(&new);
    let start = Instant::now();
    while !has(&server, &new).await {
        assert!(start.elapsed() < LIMIT, "it has still the old one");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!has(&server, &old).await);
    let now = start.elapsed().as_millis() / 100;
    read_until(&mut stream, &format!("\r\n{}\n", now + 5)).await;
    server.stop().await;
}

#[tokio::test]
async fn a_broken_new_certificate_keeps_the_old_one_until_a_whole_one_is_there() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let files = Files::new(&old);
    let server = files.serve().await;
    let [certificate, key] = files.paths();
    fs::write(&certificate, &new.pem).unwrap();
    sleep(Duration::from_millis(4500)).await;
    assert!(has(&server, &old).await, "the key doesn't match yet");
    fs::remove_file(&key).unwrap();
    fs::write(&key, &new.key).unwrap();
    let start = Instant::now();
    while !has(&server, &new).await {
        assert!(start.elapsed() < LIMIT, "it has still the old one");
        sleep(Duration::from_millis(100)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_certificate_keeps_the_old_one_until_a_file_is_there() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let files = Files::new(&old);
    let server = files.serve().await;
    let [certificate, _] = files.paths();
    fs::remove_file(&certificate).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(&certificate)
        .status();
    assert!(made.unwrap().success());
    sleep(Duration::from_millis(4500)).await;
    assert!(has(&server, &old).await);
    files.write(&new);
    let start = Instant::now();
    while !has(&server, &new).await {
        assert!(start.elapsed() < LIMIT, "it has still the old one");
        sleep(Duration::from_millis(100)).await;
    }
    server.stop().await;
}
