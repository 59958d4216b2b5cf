//! Keys in PEM (RFC 7468), and the little DER that is inside of public ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::PEM_BYTES;

/// The content of a PEM file.
pub(super) struct Pem {
    pub(super) label: String,
    pub(super) der: Vec<u8>,
}

/// The label of a block that `openssl ecparam -genkey` writes before the key. The key names its curve, too.
const EC_PARAMETERS: &str = "EC PARAMETERS";

/// Decodes the first block of a PEM file, without the parameters of a curve before it. The error describes the
/// reason.
pub(super) fn decode(text: &[u8]) -> Result<Pem, String> {
    if text.len() > PEM_BYTES {
        return Err(format!("a PEM file has at most {PEM_BYTES} bytes"));
    }
    let missing = || "not a PEM file: it has no line -----BEGIN …-----".to_owned();
    let text = std::str::from_utf8(text).map_err(|_| missing())?;
    let mut lines = text.lines().map(str::trim);
    let label = lines.find_map(|line| {
        let label = line.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
        (label != EC_PARAMETERS).then(|| label.to_owned())
    });
    let label = label.ok_or_else(missing)?;
    let end = format!("-----END {label}-----");
    let mut base64 = String::new();
    for line in lines {
        if line == end {
            let der = STANDARD.decode(&base64);
            let der = der.map_err(|_| "the PEM file is not valid base64".to_owned())?;
            return Ok(Pem { label, der });
        }
        if line.contains(':') {
            return Err(
                "the PEM file is encrypted or has headers, which isn't supported".to_owned(),
            );
        }
        base64.push_str(line);
    }
    Err(format!("the PEM file has no line {end}"))
}

/// A public key of a PEM file, by its kind.
pub(super) enum PublicKey<'a> {
    Rsa {
        n: &'a [u8],
        e: &'a [u8],
    },
    /// An uncompressed point.
    P256(&'a [u8]),
    P384(&'a [u8]),
    Ed25519(&'a [u8]),
}

/// `AlgorithmIdentifier`s without their outer tag: rsaEncryption with NULL (RFC 3279 section 2.3.1),
/// id-ecPublicKey with the curve (RFC 5480), id-Ed25519 (RFC 8410).
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const EC: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;

/// The context-specific tags of the curve and of the public key in an `ECPrivateKey`.
const CURVE: u8 = 0xa0;
const PUBLIC_KEY: u8 = 0xa1;

/// A private key of a curve, with its public key.
pub(super) struct EcPrivateKey<'a> {
    /// `true` for P-384, `false` for P-256.
    pub(super) is_p384: bool,
    pub(super) private: &'a [u8],
    pub(super) public: &'a [u8],
}

/// Parses an `ECPrivateKey` (RFC 5915 section 3) with its optional members, which OpenSSL writes.
pub(super) fn ec_private_key(der: &[u8]) -> Result<EcPrivateKey<'_>, String> {
    let parse = || {
        let mut key = Der(whole(der, SEQUENCE)?);
        (key.next(INTEGER)? == [1]).then_some(())?;
        let (private, curve) = (key.next(OCTET_STRING)?, key.next(CURVE)?);
        let public = whole(key.next(PUBLIC_KEY)?, BIT_STRING)?.strip_prefix(&[0])?;
        key.0.is_empty().then_some((private, curve, public))
    };
    let (private, curve, public) =
        parse().ok_or("the EC private key is not valid DER, or lacks its curve or public key")?;
    // In an `AlgorithmIdentifier`, the curve follows the object identifier of EC keys.
    let is = |algorithm: &[u8]| algorithm.strip_prefix(EC) == Some(curve);
    match is(P256) || is(P384) {
        true => Ok(EcPrivateKey {
            is_p384: is(P384),
            private,
            public,
        }),
        false => Err("the EC private key is not of P-256 or P-384".to_owned()),
    }
}

/// Parses a `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
pub(super) fn subject_public_key(der: &[u8]) -> Result<PublicKey<'_>, String> {
    let parse = || {
        let mut info = Der(whole(der, SEQUENCE)?);
        let algorithm = info.next(SEQUENCE)?;
        let bits = info.next(BIT_STRING)?;
        // The first byte is the number of unused bits.
        let key = bits.strip_prefix(&[0])?;
        info.0.is_empty().then_some((algorithm, key))
    };
    let (algorithm, key) = parse().ok_or("the public key is not valid DER")?;
    match algorithm {
        RSA => rsa_public_key(key),
        P256 => Ok(PublicKey::P256(key)),
        P384 => Ok(PublicKey::P384(key)),
        ED25519 => Ok(PublicKey::Ed25519(key)),
        _ => Err("the public key is not of RSA, P-256, P-384 or Ed25519".to_owned()),
    }
}

/// Parses an `RSAPublicKey` (RFC 8017 appendix A.1.1).
pub(super) fn rsa_public_key(der: &[u8]) -> Result<PublicKey<'_>, String> {
    let parse = || {
        let mut key = Der(whole(der, SEQUENCE)?);
        let (n, e) = (key.next(INTEGER)?, key.next(INTEGER)?);
        key.0.is_empty().then_some((n, e))
    };
    let (n, e) = parse().ok_or("the RSA public key is not valid DER")?;
    Ok(PublicKey::Rsa { n, e })
}

fn whole(der: &[u8], tag: u8) -> Option<&[u8]> {
    let mut der = Der(der);
    let content = der.next(tag)?;
    der.0.is_empty().then_some(content)
}

/// A sequence of DER values that hasn't been read yet.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Reads the content of the next value, if it has this tag and its length is encoded as DER
    /// requires.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (length, rest) = match rest {
            [length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
            [0x81, length @ 0x80..=0xff, rest @ ..] => (usize::from(*length), rest),
            [0x82, high @ 1..=0xff, low, rest @ ..] => {
                (usize::from(u16::from_be_bytes([*high, *low])), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_isnt_pem_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "-----BEGIN"),
            ("abc", "-----BEGIN"),
            ("-----BEGIN A-----\nAAAA\n", "no line -----END A-----"),
            ("-----BEGIN A-----\n*\n-----END A-----", "base64"),
            (
                "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n-----END A-----",
                "encrypted",
            ),
        ] {
            let error = decode(text.as_bytes()).err().unwrap();
            assert!(error.contains(part), "{error}");
        }
        assert!(decode(&vec![b'\n'; PEM_BYTES + 1]).is_err());
        let pem =
            decode(b"about\n-----BEGIN A B-----\r\nAAAA\r\nAQ==\r\n-----END A B-----\r\n").unwrap();
        assert_eq!((&*pem.label, &*pem.der), ("A B", &[0, 0, 0, 1][..]));
        let parameters =
            "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n";
        let key = "-----BEGIN A-----\nAAAA\n-----END A-----\n";
        assert_eq!(
            decode((parameters.to_owned() + key).as_bytes())
                .unwrap()
                .label,
            "A"
        );
        assert!(decode(parameters.as_bytes()).is_err());
    }

    #[test]
    fn every_truncation_of_a_key_is_refused() {
        let key = |length: u8, algorithm: &[u8]| {
            let bits = [&[BIT_STRING, length + 1, 0], &*vec![1; length.into()]].concat();
            let size = u8::try_from(algorithm.len()).unwrap();
            let inner = [&[SEQUENCE, size], algorithm, &bits].concat();
            [&[SEQUENCE, u8::try_from(inner.len()).unwrap()], &*inner].concat()
        };
        let good = key(32, ED25519);
        assert!(
            matches!(subject_public_key(&good), Ok(PublicKey::Ed25519(key)) if key.len() == 32)
        );
        for end in 0..good.len() {
            assert!(subject_public_key(&good[..end]).is_err());
        }
        assert!(subject_public_key(&[&*good, &[0]].concat()).is_err());
        assert!(subject_public_key(&key(32, b"\x06\x03\x2b\x65\x6e")).is_err());
    }
}
