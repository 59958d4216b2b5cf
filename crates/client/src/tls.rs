//! TLS: rustls with ring as its provider, unless the process has installed another one.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;

/// The protocols that a connection may negotiate (RFC 7301), in order of preference.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Alpn {
    /// HTTP/2, or else HTTP/1.1.
    Any,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
}

impl Alpn {
    fn names(self) -> Vec<Vec<u8>> {
        match self {
            Self::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
        }
    }
}

/// Reads the certificates of a PEM file. Other sections are skipped.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// Returns a configuration that trusts the platform's certificates and these roots. If the platform
/// has none and there are no roots, it trusts no server.
///
/// # Errors
/// A root is not a certificate.
pub(crate) fn config(
    roots: &[CertificateDer<'static>],
    alpn: Alpn,
) -> Result<ClientConfig, rustls::Error> {
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(ring::default_provider()));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match Verifier::new_with_extra_roots(roots.iter().cloned(), provider) {
        Ok(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier)),
        Err(_) if roots.is_empty() => builder.with_root_certificates(RootCertStore::empty()),
        Err(error) => return Err(error),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = alpn.names();
    Ok(config)
}
