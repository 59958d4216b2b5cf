//! Certificates for `localhost`, and what is wrong with some.

use headwater::Tls;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;

pub(super) struct Certificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) pem: String,
    pub(super) key: String,
}

impl Certificate {
    pub(super) fn new() -> Self {
        Self::with(&KeyPair::generate().unwrap())
    }

    fn with(key: &KeyPair) -> Self {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        Self::of(&params, key)
    }

    fn of(params: &CertificateParams, key: &KeyPair) -> Self {
        let certificate = params.self_signed(key).unwrap();
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// One for each algorithm and each form of its key.
    pub(super) fn of_all_kinds() -> Vec<Self> {
        let mut all: Vec<_> = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ED25519,
        ]
        .into_iter()
        .map(|algorithm| Self::with(&KeyPair::generate_for(algorithm).unwrap()))
        .collect();
        // ring makes no RSA keys, and rcgen writes PKCS#8 alone.
        for (pkcs8, other) in [
            (include_str!("rsa.pkcs8.pem"), include_str!("rsa.pkcs1.pem")),
            (include_str!("ec.pkcs8.pem"), include_str!("ec.sec1.pem")),
        ] {
            let certificate = Self::with(&KeyPair::from_pem(pkcs8).unwrap());
            all.push(Self {
                key: other.to_owned(),
                ..Self::with(&KeyPair::from_pem(pkcs8).unwrap())
            });
            all.push(certificate);
        }
        all
    }

    pub(super) fn tls(&self) -> Tls {
        Tls::from_pem(&self.pem, &self.key).unwrap()
    }
}

fn refusal(certificate: &str, key: &str) -> String {
    Tls::from_pem(certificate, key).unwrap_err().to_string()
}

#[test]
fn the_error_says_what_is_wrong_with_a_certificate_or_its_key() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let chain = format!("{}{}", other.pem, one.pem);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, expected) in [
        ("", &*one.key, "no certificate"),
        (&one.key, &one.key, "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAA", &one.key, "not valid PEM"),
        (broken, &one.key, "the certificate can't be used"),
        (&one.pem, "", "no private key"),
        (&one.pem, &one.pem, "no private key"),
        (&one.pem, encrypted, "openssl pkey"),
        (&one.pem, old, "openssl pkey"),
        (&one.pem, garbage, "the private key can't be used"),
        (&one.pem, &other.key, "doesn't match the certificate"),
        (&chain, &one.key, "has to come first"),
    ] {
        let error = refusal(certificate, key);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // A chain, and other sections around.
    let chain = format!("# mine\n{}{}{}", one.key, one.pem, other.pem);
    Tls::from_pem(&chain, &chain).unwrap();
}

#[test]
fn the_error_of_a_file_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let one = Certificate::new();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let refusal = || {
        Tls::from_pem_files(&certificate, &key)
            .unwrap_err()
            .to_string()
    };
    assert!(
        refusal().contains("cert.pem: can't be read"),
        "{}",
        refusal()
    );
    std::fs::write(&certificate, &one.pem).unwrap();
    assert!(
        refusal().contains("key.pem: can't be read"),
        "{}",
        refusal()
    );
    std::fs::write(&key, Certificate::new().key).unwrap();
    assert!(
        refusal().contains("key.pem: the private key doesn't match"),
        "{}",
        refusal()
    );
    std::fs::write(&certificate, "nothing").unwrap();
    assert!(
        refusal().contains("cert.pem: has no certificate"),
        "{}",
        refusal()
    );
    std::fs::write(&certificate, vec![b'x'; (1 << 20) + 1]).unwrap();
    assert!(
        refusal().contains("cert.pem: is larger than 1048576 bytes"),
        "{}",
        refusal()
    );
    std::fs::write(&certificate, vec![b'x'; 1 << 20]).unwrap();
    assert!(refusal().contains("has no certificate"), "{}", refusal());
}

#[test]
fn an_expired_certificate_is_accepted() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let _ = Certificate::of(&params, &key).tls();
}
