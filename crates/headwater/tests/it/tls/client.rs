//! Clients of https.

use std::{io, sync::Arc};

use axum::{
    body::Bytes,
    http::{Request, StatusCode},
};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::ring};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Certificate, LIMIT};
use crate::serve::Server;

pub(super) type TlsSocket = tokio_rustls::client::TlsStream<TcpStream>;

pub(super) struct Client {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
}

impl Client {
    pub(super) fn new(certificate: &Certificate) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der.clone()).unwrap();
        Self {
            roots,
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
        }
    }

    pub(super) fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    pub(super) fn alpn(mut self, names: &[&str]) -> Self {
        self.alpn = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub(super) async fn connect(&self, server: &Server) -> io::Result<TlsSocket> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&self.versions)
            .unwrap();
        let mut config = builder
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.alpn);
        let connector = TlsConnector::from(Arc::new(config));
        let name = "localhost".try_into().unwrap();
        let connect = connector.connect(name, server.connect().await);
        timeout(LIMIT, connect).await.expect("the handshake hung")
    }
}

/// Sends a request and reads until the server announces its end.
pub(super) async fn ask(socket: &mut TlsSocket, request: &str) -> io::Result<String> {
    socket.write_all(request.as_bytes()).await?;
    read_to_end(socket).await
}

pub(super) async fn read_to_end(socket: &mut TlsSocket) -> io::Result<String> {
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, socket.read_to_end(&mut bytes)).await;
    read.expect("the server hung")?;
    Ok(String::from_utf8(bytes).unwrap())
}

pub(super) async fn read_until(socket: &mut TlsSocket, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut buf = [0; 1024];
        let read = timeout(LIMIT, socket.read(&mut buf)).await;
        let read = read.expect("the server hung").unwrap();
        assert!(read > 0, "the server closed after {text:?}");
        text.push_str(std::str::from_utf8(&buf[..read]).unwrap());
    }
    text
}

pub(super) async fn http2(socket: TlsSocket) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::Builder::new()
        // A stream that isn't read leaves room for others.
        .initial_connection_window_size(64 << 20)
        .handshake(socket)
        .await
        .unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

pub(super) async fn get(
    client: &mut h2::client::SendRequest<Bytes>,
    uri: &str,
) -> (StatusCode, String) {
    let mut client = client.clone().ready().await.unwrap();
    let request = Request::get(uri).body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    let status = response.status();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    (status, String::from_utf8(bytes).unwrap())
}

/// The outcomes of a connection's streams.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) served: usize,
    pub(super) refused: usize,
}

/// Opens streams at once, whatever the server's settings allow, and waits until all have ended.
pub(super) async fn http2_without_limit(mut socket: TlsSocket, streams: u32, path: &str) -> Ended {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    const END_STREAM: u8 = 1;
    const REFUSED_STREAM: u32 = 7;
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Its own SETTINGS, empty.
    out.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // `:method: GET` and `:scheme: https` of the static table, then two literals without an index.
    let mut block = vec![0x82, 0x87];
    for (name, value) in [(0x04, path), (0x01, "localhost")] {
        block.push(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    for n in 0..streams {
        out.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes()[1..]);
        // END_STREAM and END_HEADERS.
        out.extend_from_slice(&[HEADERS, 0x05]);
        out.extend_from_slice(&(2 * n + 1).to_be_bytes());
        out.extend_from_slice(&block);
    }
    socket.write_all(&out).await.unwrap();
    let mut ended = Ended::default();
    while ended.served + ended.refused < streams as usize {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await.unwrap();
        match head[3] {
            DATA | HEADERS if head[4] & END_STREAM != 0 => ended.served += 1,
            RST_STREAM => {
                let code = u32::from_be_bytes(payload[..4].try_into().unwrap());
                assert_eq!(code, REFUSED_STREAM);
                ended.refused += 1;
            }
            GOAWAY => panic!("the connection ends after {ended:?}: {payload:?}"),
            _ => {}
        }
    }
    ended
}
