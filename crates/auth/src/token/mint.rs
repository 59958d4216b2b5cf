//! Minting of tokens.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, RsaEncoding, RsaKeyPair,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::key::hmac_algorithm;
use super::{Algorithm, KeyError, VerificationKey, pem};
use crate::Grants;
use crate::limits::{RSA_BITS, TOKEN_BYTES};

/// The reason for which no token was minted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MintError(Box<str>);

impl MintError {
    fn new(reason: impl Into<Box<str>>) -> Self {
        Self(reason.into())
    }
}

/// A key that signs tokens: an HMAC secret or a private key.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use headwater_auth::{Claims, Grant, Grants, JwtOptions, JwtVerifier, SigningKey};
///
/// let secret = [7; 32];
/// let now = SystemTime::now();
/// let grants = Grants::new(vec!["read:orders/**".parse::<Grant>()?])?;
/// let claims = Claims::new(now + Duration::from_secs(3600)).subject("alice").grants(grants);
/// let token = SigningKey::from_secret(&secret)?.mint(&claims)?;
///
/// let verifier = JwtVerifier::new(JwtOptions::secret(&secret)?);
/// assert_eq!(verifier.verify(&token, now)?.subject(), "alice");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SigningKey {
    material: Material,
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    typ: Box<str>,
}

enum Material {
    Secret(Box<[u8]>),
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The curves of keys, each with the algorithm of its signatures.
static CURVES: [(&EcdsaSigningAlgorithm, Algorithm); 2] = [
    (&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::Es256),
    (&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::Es384),
];

impl SigningKey {
    /// Makes a key of an HMAC secret. It signs with HS256.
    ///
    /// # Errors
    /// See [`VerificationKey::from_secret`].
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        VerificationKey::from_secret(secret)?;
        Ok(Self::new(Material::Secret(secret.into()), Algorithm::Hs256))
    }

    /// Makes a key of a private key in PEM: `PRIVATE KEY` (PKCS #8) with RSA, P-256, P-384 or Ed25519,
    /// `RSA PRIVATE KEY`, or `EC PRIVATE KEY`, perhaps after its `EC PARAMETERS`. It signs with RS256, ES256,
    /// ES384 or `EdDSA`.
    ///
    /// # Errors
    /// It isn't such a file, or the size of the RSA key isn't in [`RSA_BITS`]. ring signs with RSA keys
    /// of up to 4096 bits.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let pem = pem::decode(pem).map_err(KeyError::new)?;
        let der = &pem.der;
        match &*pem.label {
            "PRIVATE KEY" => Self::pkcs8(der),
            "RSA PRIVATE KEY" => Self::rsa(RsaKeyPair::from_der(der)),
            "EC PRIVATE KEY" => Self::ec(der),
            label => Err(KeyError::new(format!(
                "the PEM file has a {label}, and PRIVATE KEY was expected"
            ))),
        }
    }

    fn ec(der: &[u8]) -> Result<Self, KeyError> {
        let key = pem::ec_private_key(der).map_err(KeyError::new)?;
        let (curve, algorithm) = CURVES[usize::from(key.is_p384)];
        let random = SystemRandom::new();
        let (private, public) = (key.private, key.public);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, private, public, &random);
        let pair =
            pair.map_err(|_| KeyError::new("the EC private key and its public key differ"))?;
        Ok(Self::new(Material::Ecdsa(pair), algorithm))
    }

    fn pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        for (curve, algorithm) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve, der, &random) {
                return Ok(Self::new(Material::Ecdsa(pair), algorithm));
            }
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self::new(Material::Ed25519(pair), Algorithm::EdDsa));
        }
        Self::rsa(RsaKeyPair::from_pkcs8(der))
    }

    fn rsa(pair: Result<RsaKeyPair, ring::error::KeyRejected>) -> Result<Self, KeyError> {
        // ring's reasons are names of code, such as `TooSmall`.
        let pair = pair.map_err(|_| {
            KeyError::new(format!(
                "not a private key of RSA ({} to 4096 bits), P-256, P-384 or Ed25519",
                RSA_BITS.start()
            ))
        })?;
        Ok(Self::new(Material::Rsa(Box::new(pair)), Algorithm::Rs256))
    }

    fn new(material: Material, algorithm: Algorithm) -> Self {
        Self {
            material,
            algorithm,
            kid: None,
            typ: "JWT".into(),
        }
    }

    /// Adds a key id to the header of tokens.
    #[must_use]
    pub fn kid(mut self, kid: &str) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// Sets the type in the header of tokens. The default is `JWT`; Mercure 1.0 requires `at+jwt`.
    #[must_use]
    pub fn typ(mut self, typ: &str) -> Self {
        self.typ = typ.into();
        self
    }

    /// Selects another algorithm.
    ///
    /// # Errors
    /// The algorithm isn't one of the key's kind, or the secret is too short for it.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Result<Self, KeyError> {
        let is_allowed = match &self.material {
            Material::Secret(secret) => VerificationKey::from_secret(secret)?
                .algorithms()
                .contains(&algorithm),
            Material::Rsa(_) => rsa_encoding(algorithm).is_some(),
            Material::Ecdsa(_) | Material::Ed25519(_) => self.algorithm == algorithm,
        };
        if !is_allowed {
            return Err(KeyError::new(format!(
                "the key can't sign with {algorithm}"
            )));
        }
        self.algorithm = algorithm;
        Ok(self)
    }

    /// Signs claims: [`Claims`], or anything else that is an object in JSON.
    ///
    /// # Errors
    /// The claims aren't an object, or the token would have more than [`TOKEN_BYTES`].
    pub fn mint(&self, claims: &impl Serialize) -> Result<String, MintError> {
        let claims = serde_json::to_value(claims);
        let claims = claims.map_err(|error| MintError::new(error.to_string()))?;
        if !claims.is_object() {
            return Err(MintError::new("claims are a JSON object"));
        }
        let mut header = Map::new();
        header.insert("alg".to_owned(), self.algorithm.name().into());
        header.insert("typ".to_owned(), (*self.typ).into());
        if let Some(kid) = &self.kid {
            header.insert("kid".to_owned(), (**kid).into());
        }
        let header = Value::Object(header).to_string();
        let token = self.sign(&header, &claims.to_string())?;
        match token.len() <= TOKEN_BYTES {
            true => Ok(token),
            false => Err(MintError::new(format!(
                "a token has at most {TOKEN_BYTES} bytes, and this one has {}",
                token.len()
            ))),
        }
    }

    /// Signs a header and a payload as they are.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> Result<String, MintError> {
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, MintError> {
        let failed = |_| MintError::new("the message couldn't be signed");
        let random = SystemRandom::new();
        match &self.material {
            Material::Secret(secret) => {
                let algorithm = hmac_algorithm(self.algorithm).unwrap_or(hmac::HMAC_SHA256);
                let key = hmac::Key::new(algorithm, secret);
                Ok(hmac::sign(&key, message).as_ref().to_vec())
            }
            Material::Rsa(pair) => {
                let encoding = rsa_encoding(self.algorithm);
                let encoding = encoding.unwrap_or(&signature::RSA_PKCS1_SHA256);
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(encoding, &random, message, &mut signature);
                signed.map_err(failed)?;
                Ok(signature)
            }
            Material::Ecdsa(pair) => {
                let signature = pair.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Material::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_SHA512),
        _ => None,
    }
}

/// The claims of a token to mint. Times are rounded down to whole seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Box<str>>,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headwater: Option<Grants>,
}

impl Claims {
    /// Makes the claims of a token with an expiry.
    #[must_use]
    pub fn new(expires: SystemTime) -> Self {
        Self {
            iss: None,
            sub: None,
            aud: None,
            exp: seconds(expires),
            nbf: None,
            iat: None,
            headwater: None,
        }
    }

    /// Sets the issuer (`iss`).
    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.iss = Some(issuer.into());
        self
    }

    /// Sets the subject (`sub`).
    #[must_use]
    pub fn subject(mut self, subject: &str) -> Self {
        self.sub = Some(subject.into());
        self
    }

    /// Sets the audience (`aud`).
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.aud = Some(audience.into());
        self
    }

    /// Sets the time before which the token isn't valid (`nbf`).
    #[must_use]
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.nbf = Some(seconds(time));
        self
    }

    /// Sets the time at which the token was issued (`iat`).
    #[must_use]
    pub fn issued_at(mut self, time: SystemTime) -> Self {
        self.iat = Some(seconds(time));
        self
    }

    /// Sets what the token grants (`headwater`).
    #[must_use]
    pub fn grants(mut self, grants: Grants) -> Self {
        self.headwater = Some(grants);
        self
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
