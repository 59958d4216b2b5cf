//! A certificate and its key, from PEM.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    InconsistentKeys,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};

use super::{provider, validity::Validity};

/// Maximum size of a PEM file, in bytes.
pub(super) const MAX_PEM: usize = 1024 * 1024;

/// The reason why a certificate or its key can't be used.
#[derive(Debug)]
pub struct TlsError {
    /// The file with the fault, if it was read from one.
    file: Option<PathBuf>,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("can't be read: {0}")]
    Read(#[source] io::Error),
    #[error("is larger than {MAX_PEM} bytes, so it is not a PEM file")]
    TooLarge,
    #[error("is not valid PEM: {0}")]
    Pem(#[source] pem::Error),
    #[error("has no certificate; it has to contain `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    #[error("the certificate can't be used: {0}")]
    BadCertificate(#[source] rustls::Error),
    #[error(
        "has no private key; it has to contain `-----BEGIN PRIVATE KEY-----`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`"
    )]
    NoKey,
    #[error(
        "the private key is encrypted; decrypt it with `openssl pkey -in KEY -out DECRYPTED`, and protect the file by \
         its permissions"
    )]
    EncryptedKey,
    #[error(
        "the private key can't be used: {0}; ECDSA with P-256 or P-384, RSA of 2048 bits or more, and Ed25519 can"
    )]
    BadKey(#[source] rustls::Error),
    #[error("the private key doesn't match the certificate")]
    Mismatch,
    #[error(
        "the private key doesn't match the first certificate but a later one; the server's own certificate has to \
         come first, then the intermediate ones"
    )]
    MatchesLater,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        self.reason.fmt(f)
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match &error.reason {
            Reason::Read(error) => error.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl TlsError {
    pub(super) fn read(file: &Path, error: io::Error) -> Self {
        Self {
            file: Some(file.to_owned()),
            reason: Reason::Read(error),
        }
    }

    pub(super) fn too_large(file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            reason: Reason::TooLarge,
        }
    }

    /// Names the file with the fault.
    pub(super) fn of_files(mut self, certificate: &Path, key: &Path) -> Self {
        self.file.get_or_insert_with(|| match self.reason {
            Reason::NoKey | Reason::EncryptedKey | Reason::BadKey(_) | Reason::Mismatch => {
                key.to_owned()
            }
            _ => certificate.to_owned(),
        });
        self
    }
}

impl From<Reason> for TlsError {
    fn from(reason: Reason) -> Self {
        Self { file: None, reason }
    }
}

/// A certificate with its chain, and its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    /// `None` if it couldn't be read, which doesn't keep a client from accepting it.
    validity: Option<Validity>,
}

impl Pair {
    pub(super) fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(Reason::Pem)?;
        let Some(own) = chain.first() else {
            return Err(Reason::NoCertificate.into());
        };
        let validity = Validity::of(own);
        let key = private_key(key)?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(Reason::BadKey)?;
        let certified = CertifiedKey::new(chain, key);
        match matches(&certified) {
            Ok(true) => {}
            Ok(false) => {
                let later = certified.cert[1..].iter();
                let is_later = later.into_iter().any(|other| {
                    let other = CertifiedKey::new(vec![other.clone()], Arc::clone(&certified.key));
                    matches(&other).unwrap_or(false)
                });
                let reason = match is_later {
                    true => Reason::MatchesLater,
                    false => Reason::Mismatch,
                };
                return Err(reason.into());
            }
            Err(error) => return Err(Reason::BadCertificate(error).into()),
        }
        Ok(Self {
            key: Arc::new(certified),
            validity,
        })
    }

    /// Logs if the certificate isn't valid now. Clients refuse it then.
    pub(super) fn warn_of_validity(&self) {
        let Some(validity) = self.validity else {
            return;
        };
        match validity.at(SystemTime::now()) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Less => tracing::warn!(
                not_before = %validity.not_before(),
                "the TLS certificate isn't valid yet: clients will refuse it"
            ),
            std::cmp::Ordering::Greater => tracing::warn!(
                not_after = %validity.not_after(),
                "the TLS certificate has expired: clients will refuse it"
            ),
        }
    }
}

/// Returns `true` if the key is that of the first certificate, or if that can't be determined.
fn matches(certified: &CertifiedKey) -> Result<bool, rustls::Error> {
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(true),
        Err(rustls::Error::InconsistentKeys(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    // PKCS#8, and the older form that openssl's own formats have.
    const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"4,ENCRYPTED"];
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(_)
            if ENCRYPTED
                .iter()
                .any(|mark| memchr::memmem::find(pem, mark).is_some()) =>
        {
            Err(Reason::EncryptedKey.into())
        }
        Err(pem::Error::NoItemsFound) => Err(Reason::NoKey.into()),
        // That of the key's file.
        Err(error) => Err(Reason::BadKey(rustls::Error::General(error.to_string())).into()),
    }
}
