use super::*;
use crate::limits::{SECRET_BYTES, TOKEN_BYTES};
use crate::token::VerificationKey;
use crate::{Algorithm, Claims, Grant, Grants};

#[test]
fn each_kind_of_key_verifies_what_its_private_key_signs() {
    // As `openssl ecparam -genkey` writes it.
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let after_parameters = [parameters.as_bytes(), pem!("p256_sec1")].concat();
    for (private, public, algorithms) in [
        (pem!("rsa"), pem!("rsa.pub"), &Algorithm::ALL[3..9]),
        (
            pem!("rsa_pkcs1"),
            pem!("rsa_pkcs1.pub"),
            &Algorithm::ALL[3..9],
        ),
        (pem!("p256"), pem!("p256.pub"), &[Algorithm::Es256]),
        (pem!("p384"), pem!("p384.pub"), &[Algorithm::Es384]),
        (pem!("p256_sec1"), pem!("p256.pub"), &[Algorithm::Es256]),
        (pem!("p384_sec1"), pem!("p384.pub"), &[Algorithm::Es384]),
        (&after_parameters, pem!("p256.pub"), &[Algorithm::Es256]),
        (pem!("ed25519"), pem!("ed25519.pub"), &[Algorithm::EdDsa]),
    ] {
        let options = || JwtOptions::public_key(public).unwrap();
        for algorithm in Algorithm::ALL {
            let key = SigningKey::from_pem(private).unwrap().algorithm(algorithm);
            assert_eq!(key.is_ok(), algorithms.contains(&algorithm), "{algorithm}");
            if let Ok(key) = key {
                let token = key.mint(&claims(&json!({"sub": "a"}))).unwrap();
                assert_eq!(
                    verify(options(), &token).unwrap().subject(),
                    "a",
                    "{algorithm}"
                );
                let (message, _) = token.rsplit_once('.').unwrap();
                let other = format!("{message}.{}", "A".repeat(86));
                assert_eq!(verify(options(), &other), Err(AuthError::BadSignature));
            }
        }
        assert_eq!(
            VerificationKey::from_pem(public).unwrap().algorithms(),
            algorithms
        );
    }
    for algorithm in &Algorithm::ALL[..3] {
        let token = hmac()
            .algorithm(*algorithm)
            .unwrap()
            .mint(&claims(&json!({})))
            .unwrap();
        assert!(verify(options(), &token).is_ok(), "{algorithm}");
    }
}

#[test]
fn a_weak_or_unsupported_key_is_refused_with_the_reason() {
    for (pem, part) in [
        (
            pem!("rsa1024.pub"),
            "2048 to 8192 bits, and this one has 1024",
        ),
        (pem!("p521.pub"), "not of RSA, P-256, P-384 or Ed25519"),
        (pem!("p256"), "this is a private key"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "has a CERTIFICATE",
        ),
        (b"a secret", "not a PEM file"),
    ] {
        let error = VerificationKey::from_pem(pem).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let p256 = std::str::from_utf8(pem!("p256_sec1")).unwrap();
    // The last byte of the curve's identifier, and one of the public key.
    let other_curve = p256.replace("AwEHoUQD", "AwEBoUQD");
    let swapped = p256.replace("ptyiTKymR", "ptyiTKymS");
    let rsa = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for (pem, part) in [
        (
            other_curve.as_bytes(),
            "the EC private key is not of P-256 or P-384",
        ),
        (swapped.as_bytes(), "and its public key differ"),
        (
            rsa.as_bytes(),
            "not a private key of RSA (2048 to 4096 bits), P-256, P-384 or Ed25519",
        ),
        (pem!("p256.pub"), "has a PUBLIC KEY"),
    ] {
        let error = SigningKey::from_pem(pem).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(VerificationKey::from_secret(&SECRET[..SECRET_BYTES]).is_ok());
    let error = SigningKey::from_secret(&SECRET[..SECRET_BYTES - 1])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("at least 32 bytes, and this one has 31"),
        "{error}"
    );
}

#[test]
fn hmac_algorithms_need_a_secret_as_long_as_their_hash() {
    for (bytes, count) in [(32, 1), (47, 1), (48, 2), (63, 2), (64, 3)] {
        let key = VerificationKey::from_secret(&SECRET[..bytes]).unwrap();
        assert_eq!(key.algorithms(), &Algorithm::ALL[..count]);
    }
}

#[test]
fn claims_are_minted_as_they_are_set() {
    let grants = Grants::new(vec!["read:a/**".parse::<Grant>().unwrap()]).unwrap();
    let claims = Claims::new(at(NOW + 60))
        .issuer("i")
        .subject("s")
        .audience("a")
        .not_before(now())
        .issued_at(now())
        .grants(grants.clone());
    let token = hmac().kid("k").mint(&claims).unwrap();
    let identity = verify(options().issuer("i").audience("a"), &token).unwrap();
    assert_eq!((identity.subject(), identity.grants()), ("s", &grants));
    assert!(hmac().mint(&json!([1])).is_err());
    let error = hmac()
        .mint(&json!({"exp": 1, "x": "x".repeat(TOKEN_BYTES)}))
        .unwrap_err();
    assert!(error.to_string().contains("at most 8192 bytes"), "{error}");
}
