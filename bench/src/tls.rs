//! Readers over TLS, by rustls, and the certificates of their server.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};

use crate::{
    Error,
    load::{self, Reader},
};

/// Maximum number of connections that are opened in a second. Each is a handshake for the server.
const PER_SECOND: u32 = 2000;

/// A self-signed certificate for 127.0.0.1.
pub struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Certificate {
    /// Makes a certificate.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn new() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(["127.0.0.1".to_owned()])?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Writes the certificate and the key to a folder, in the place of those that are there.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let replace = |path: PathBuf, text: &str| {
            let new = path.with_extension("new");
            fs::write(&new, text)?;
            fs::rename(new, path)
        };
        replace(Self::file(folder), &self.pem)?;
        replace(Self::key_file(folder), &self.key)
    }

    /// Returns the path of the certificate in a folder.
    #[must_use]
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("certificate.pem")
    }

    /// Returns the path of the key in a folder.
    #[must_use]
    pub fn key_file(folder: &Path) -> PathBuf {
        folder.join("key.pem")
    }
}

/// The client side of TLS, with the certificates that readers trust. It resumes no session.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Trusts these certificates, and speaks HTTP/1.1.
    ///
    /// # Errors
    /// A certificate can't be used.
    pub fn trusting(certificates: &[&Certificate]) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.der.clone())?;
        }
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// Returns `true` if new connections get this certificate.
    ///
    /// # Errors
    /// The connection or its handshake fails.
    pub fn gets(&self, server: SocketAddr, certificate: &Certificate) -> Result<bool, Error> {
        let (_, session) = self.open(server)?;
        let chain = session.0.peer_certificates().unwrap_or_default();
        Ok(chain.first() == Some(&certificate.der))
    }

    /// Connects readers to `target`, one after the other, until each has its response's head. At most
    /// 2,000 are opened in a second.
    ///
    /// # Errors
    /// A reader doesn't receive a stream.
    pub fn attach(
        &self,
        server: SocketAddr,
        target: &str,
        count: u32,
    ) -> Result<Vec<Reader>, Error> {
        let start = Instant::now();
        let attached = (0..count).map(|number| {
            let due = start + Duration::from_secs(1) * number / PER_SECOND;
            sleep(due.saturating_duration_since(Instant::now()));
            let (mut socket, mut session) = self.open(server)?;
            session.0.writer().write_all(&load::follow(target))?;
            session.0.complete_io(&mut socket)?;
            Reader::new(socket, Some(session)).begin()
        });
        attached.collect()
    }

    fn open(&self, server: SocketAddr) -> Result<(TcpStream, Session), Error> {
        let mut socket = load::connect(server)?;
        let name = ServerName::from(server.ip());
        let mut session = ClientConnection::new(Arc::clone(&self.0), name)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok((socket, Session(Box::new(session))))
    }
}

/// The TLS session of a reader.
#[derive(Debug)]
pub struct Session(Box<ClientConnection>);

impl Session {
    /// Decrypts bytes of the socket, and calls `plain` with each piece of the result.
    ///
    /// # Errors
    /// The bytes aren't records of this session, or `plain` fails.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        mut plain: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), Error> {
        loop {
            let mut reader = self.0.reader();
            loop {
                let size = match reader.fill_buf() {
                    Ok([]) => return Err("a reader's session ended".into()),
                    Ok(piece) => {
                        plain(piece)?;
                        piece.len()
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                reader.consume(size);
            }
            if input.is_empty() {
                return Ok(());
            }
            self.0.read_tls(&mut input)?;
            self.0.process_new_packets()?;
        }
    }
}
