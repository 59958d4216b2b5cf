//! TLS, by rustls with ring.

mod certificate;
mod handshake;
mod reload;
mod stream;
mod validity;

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use self::certificate::Pair;
pub use self::certificate::TlsError;
pub(super) use self::{
    handshake::{Acceptor, Opened},
    reload::Reload,
    stream::TlsStream,
};

/// The protocols that a connection may negotiate (RFC 7301), in order of preference. A client that
/// offers none of them is refused; one that doesn't negotiate gets HTTP/1.1.
const ALPN: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";

/// A certificate and its key, with which [`Serve::tls`](super::Serve::tls) serves https.
///
/// The certificate is a PEM file with the server's own certificate first and the intermediate ones
/// after it. The key is a PEM file in PKCS#8, SEC1 or PKCS#1, for ECDSA (P-256, P-384), RSA or
/// Ed25519.
///
/// ```no_run
/// # async fn example(app: axum::Router) -> std::io::Result<()> {
/// use headwater::Tls;
///
/// let tls = Tls::from_pem_files("/etc/tls/fullchain.pem", "/etc/tls/privkey.pem")?;
/// headwater::serve(app, "0.0.0.0:443").tls(tls).await
/// # }
/// ```
pub struct Tls {
    resolver: Arc<Resolver>,
    /// The files that it was read from, and their stamps before that.
    source: Option<(reload::Files, reload::Stamps)>,
}

impl Tls {
    /// Reads the certificate and the key from PEM files.
    ///
    /// The running server reads them again when they change, within a few seconds, and on SIGHUP if
    /// it stops on signals. New connections then get the new certificate, and open ones continue. If
    /// the new files can't be used, the server keeps the previous certificate and logs the reason at
    /// ERROR.
    ///
    /// # Errors
    /// A file can't be read, or is not what it should be. The error names the file.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let files = reload::Files::new(certificate.as_ref(), key.as_ref());
        let stamps = files.stamps();
        let pair = files.read()?;
        Ok(Self {
            resolver: Resolver::new(pair),
            source: Some((files, stamps)),
        })
    }

    /// Takes the certificate and the key as the bytes of PEM files.
    ///
    /// # Errors
    /// They are not what they should be.
    pub fn from_pem(
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsError> {
        let pair = Pair::parse(certificate.as_ref(), key.as_ref())?;
        Ok(Self {
            resolver: Resolver::new(pair),
            source: None,
        })
    }

    /// Splits this into what accepts connections and what reloads the certificate.
    pub(super) fn start(self) -> Result<(Acceptor, Option<Reload>), rustls::Error> {
        let resolver: Arc<Resolver> = Arc::clone(&self.resolver);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        // Early data can be replayed, and an append isn't safe to repeat.
        config.max_early_data_size = 0;
        // The state of a session is in its ticket, so resumption needs no memory here.
        config.ticketer = ring::Ticketer::new()?;
        let reload = self.source;
        let reload = reload.map(|(files, stamps)| Reload::new(files, stamps, self.resolver));
        Ok((Acceptor::new(Arc::new(config)), reload))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Returns the cryptography of all connections. It is passed on explicitly, so it doesn't depend on
/// the default of the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The current certificate. A handshake takes the one at its start.
#[derive(Debug)]
struct Resolver(parking_lot::RwLock<Arc<CertifiedKey>>);

impl Resolver {
    fn new(pair: Pair) -> Arc<Self> {
        pair.warn_of_validity();
        Arc::new(Self(parking_lot::RwLock::new(pair.key)))
    }

    fn replace(&self, pair: Pair) {
        pair.warn_of_validity();
        *self.0.write() = pair.key;
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}
