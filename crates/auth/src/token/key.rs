//! Keys that verify signatures.
//!
//! The signatures are verified with `ring` directly, not through the crate `jsonwebtoken`. Its last
//! version with ring is 9. Later ones need a provider of cryptography for the whole process, and one
//! for ring would contain what is here; the checks of header, keys and claims would be needed as well.
//!
//! A key has a kind, and the kind determines the algorithms (RFC 8725 section 3.1). The algorithm that
//! a token names only selects one of these. A public key is therefore never used as an HMAC secret.

use std::fmt;

use ring::{digest, hmac, signature};
use signature::{RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use super::pem::{self, PublicKey};
use super::{Algorithm, KeyError};
use crate::KeyFingerprint;
use crate::limits::{RSA_BITS, SECRET_BYTES};

/// A key that verifies signatures: an HMAC secret or a public key.
#[derive(Clone)]
pub struct VerificationKey {
    material: Material,
    algorithms: Vec<Algorithm>,
    fingerprint: KeyFingerprint,
}

#[derive(Clone)]
enum Material {
    Secret(Box<[u8]>),
    Rsa { n: Box<[u8]>, e: Box<[u8]> },
    P256(Box<[u8]>),
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

impl VerificationKey {
    /// Makes a key of an HMAC secret. It verifies HS256; from 48 bytes on HS384, from 64 on HS512.
    ///
    /// # Errors
    /// The secret has less than [`SECRET_BYTES`] bytes.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES {
            return Err(KeyError::new(format!(
                "an HMAC secret has at least {SECRET_BYTES} bytes, and this one has {}; \
                 `openssl rand -hex 32` makes one",
                secret.len()
            )));
        }
        // RFC 7518 section 3.2: the key is at least as long as the hash.
        let algorithms = [
            (Algorithm::Hs256, 32),
            (Algorithm::Hs384, 48),
            (Algorithm::Hs512, 64),
        ];
        let long_enough = algorithms
            .iter()
            .filter(|(_, bytes)| secret.len() >= *bytes);
        let algorithms = long_enough.map(|(algorithm, _)| *algorithm).collect();
        Ok(Self::new(Material::Secret(secret.into()), algorithms))
    }

    /// Makes a key of a public key in PEM: `PUBLIC KEY` with RSA, P-256, P-384 or Ed25519, or
    /// `RSA PUBLIC KEY`.
    ///
    /// # Errors
    /// It isn't such a file, or the size of the RSA key isn't in [`RSA_BITS`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let pem = pem::decode(pem).map_err(KeyError::new)?;
        let key = match &*pem.label {
            "PUBLIC KEY" => pem::subject_public_key(&pem.der),
            "RSA PUBLIC KEY" => pem::rsa_public_key(&pem.der),
            label if label.ends_with("PRIVATE KEY") => Err(
                "this is a private key, and verifying needs the public one; \
                 `openssl pkey -pubout` extracts it"
                    .to_owned(),
            ),
            label => Err(format!(
                "the PEM file has a {label}, and PUBLIC KEY was expected"
            )),
        };
        match key.map_err(KeyError::new)? {
            PublicKey::Rsa { n, e } => Self::rsa(n, e),
            PublicKey::P256(point) => Self::p256(point),
            PublicKey::P384(point) => Self::p384(point),
            PublicKey::Ed25519(key) => Self::ed25519(key),
        }
    }

    /// Makes an RSA key of its modulus and public exponent, in big-endian order.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let [n, e] = [n, e].map(|number| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            &number[zeros..]
        });
        let leading = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = 8 * n.len() - leading;
        if !RSA_BITS.contains(&bits) {
            let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
            return Err(KeyError::new(format!(
                "an RSA key has {least} to {most} bits, and this one has {bits}"
            )));
        }
        // ring takes exponents of up to 33 bits.
        let is_exponent = match e {
            [3] => true,
            e => (2..=4).contains(&e.len()) && e[e.len() - 1] % 2 == 1,
        };
        if !is_exponent {
            return Err(KeyError::new("the RSA key has an unusual public exponent"));
        }
        let algorithms = [
            Algorithm::Rs256,
            Algorithm::Rs384,
            Algorithm::Rs512,
            Algorithm::Ps256,
            Algorithm::Ps384,
            Algorithm::Ps512,
        ];
        let material = Material::Rsa {
            n: n.into(),
            e: e.into(),
        };
        Ok(Self::new(material, algorithms.into()))
    }

    pub(super) fn p256(point: &[u8]) -> Result<Self, KeyError> {
        let point = uncompressed(point, 32)?;
        Ok(Self::new(Material::P256(point), vec![Algorithm::Es256]))
    }

    pub(super) fn p384(point: &[u8]) -> Result<Self, KeyError> {
        let point = uncompressed(point, 48)?;
        Ok(Self::new(Material::P384(point), vec![Algorithm::Es384]))
    }

    pub(super) fn ed25519(key: &[u8]) -> Result<Self, KeyError> {
        if key.len() != 32 {
            return Err(KeyError::new("an Ed25519 key has 32 bytes"));
        }
        Ok(Self::new(
            Material::Ed25519(key.into()),
            vec![Algorithm::EdDsa],
        ))
    }

    fn new(material: Material, algorithms: Vec<Algorithm>) -> Self {
        Self {
            fingerprint: material.fingerprint(),
            material,
            algorithms,
        }
    }

    /// Returns the key with only those of its algorithms for which the function returns `true`.
    pub(super) fn restricted(mut self, keep: impl Fn(Algorithm) -> bool) -> Self {
        self.algorithms.retain(|algorithm| keep(*algorithm));
        self
    }

    /// Returns the algorithms that the key verifies.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Returns a hash of the key.
    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    /// Returns `true` if the signature of a message is valid and its algorithm is one of the key's.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.algorithms.contains(&algorithm) {
            return false;
        }
        let by = |verification, key| {
            let key = UnparsedPublicKey::new(verification, key);
            key.verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Secret(secret) => hmac_algorithm(algorithm).is_some_and(|algorithm| {
                // It compares in constant time.
                hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
            }),
            Material::Rsa { n, e } => rsa_parameters(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            // RFC 7518 section 3.4: R and S with a fixed size each, not DER.
            Material::P256(point) => by(&signature::ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => by(&signature::ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(key) => by(&signature::ED25519, key),
        }
    }
}

impl Material {
    fn fingerprint(&self) -> KeyFingerprint {
        let (kind, parts): (&[u8], [&[u8]; 2]) = match self {
            Self::Secret(secret) => (b"secret", [secret, &[]]),
            Self::Rsa { n, e } => (b"rsa", [n, e]),
            Self::P256(point) => (b"p256", [point, &[]]),
            Self::P384(point) => (b"p384", [point, &[]]),
            Self::Ed25519(key) => (b"ed25519", [key, &[]]),
        };
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [b"headwater-auth key", kind, parts[0], parts[1]] {
            hash.update(&part.len().to_be_bytes());
            hash.update(part);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        KeyFingerprint(fingerprint)
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("algorithms", &self.algorithms)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Checks the form of a point (SEC 1 section 2.3.3). ring checks that it is on the curve.
fn uncompressed(point: &[u8], bytes: usize) -> Result<Box<[u8]>, KeyError> {
    match point.first() {
        Some(4) if point.len() == 1 + 2 * bytes => Ok(point.into()),
        _ => Err(KeyError::new(
            "the elliptic curve key is not an uncompressed point",
        )),
    }
}

pub(super) fn hmac_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}
