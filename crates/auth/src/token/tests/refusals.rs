//! Attempts, and the right result of each.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

use super::*;
use crate::limits::{KEY_ID_BYTES, LEEWAY, MAX_LEEWAY, SUBJECT_BYTES, TOKEN_BYTES};
use crate::{Algorithm, Jwks};

const HS256: &str = r#"{"alg":"HS256"}"#;

fn payload() -> String {
    claims(&json!({})).to_string()
}

/// The code of the error, or `ok`.
fn code(options: JwtOptions, token: &str) -> &'static str {
    verify(options, token).map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn times_are_checked_with_the_leeway() {
    let leeway = LEEWAY.as_secs();
    for (changes, expected) in [
        (json!({}), "ok"),
        (json!({"exp": NOW - leeway + 1}), "ok"),
        (json!({"exp": NOW - leeway}), "expired"),
        (json!({"exp": 0}), "expired"),
        (
            json!({"exp": f64::from(u32::try_from(NOW).unwrap()) + 0.5}),
            "ok",
        ),
        (json!({"exp": null}), "malformed"),
        (json!({"exp": "1800000060"}), "malformed"),
        (json!({"exp": -1}), "malformed"),
        (json!({"exp": NOW * 1000}), "malformed"),
        (json!({"exp": 1e300}), "malformed"),
        (json!({"nbf": NOW + leeway}), "ok"),
        (json!({"nbf": NOW + leeway + 1}), "not_yet_valid"),
        (json!({"nbf": true}), "malformed"),
    ] {
        assert_eq!(code(options(), &token(&changes)), expected, "{changes}");
    }
    let no_exp = raw(HS256, r#"{"sub":"a"}"#);
    assert_eq!(
        verify(options(), &no_exp).unwrap_err().to_string(),
        "the token is malformed: it has no exp"
    );
    let strict = options().leeway(Duration::ZERO);
    assert_eq!(code(strict, &token(&json!({"exp": NOW}))), "expired");
    let long = || options().leeway(Duration::MAX);
    let most = MAX_LEEWAY.as_secs();
    assert_eq!(code(long(), &token(&json!({"exp": NOW - most + 1}))), "ok");
    assert_eq!(code(long(), &token(&json!({"exp": NOW - most}))), "expired");
}

#[test]
fn the_identity_expires_when_the_token_isnt_accepted_any_more() {
    let identity = verify(options(), &token(&json!({"sub": "alice"}))).unwrap();
    assert_eq!(identity.subject(), "alice");
    assert_eq!(identity.expires(), Some(at(NOW + 60) + LEEWAY));
}

#[test]
fn the_audience_is_one_of_the_configured_ones() {
    let ours = || options().audience("hub").audience("hub2");
    for (aud, expected) in [
        (json!("hub"), "ok"),
        (json!("hub2"), "ok"),
        (json!(["other", "hub"]), "ok"),
        (json!("other"), "wrong_audience"),
        (json!("HUB"), "wrong_audience"),
        (json!([]), "wrong_audience"),
        (json!(["hub", 1]), "malformed"),
        (json!({"hub": 1}), "malformed"),
    ] {
        assert_eq!(
            code(ours(), &token(&json!({"aud": aud}))),
            expected,
            "{aud}"
        );
    }
    assert_eq!(code(ours(), &token(&json!({}))), "wrong_audience");
    // RFC 7519 section 4.1.3.
    assert_eq!(
        code(options(), &token(&json!({"aud": "hub"}))),
        "wrong_audience"
    );
}

#[test]
fn the_issuer_is_one_of_the_configured_ones() {
    let ours = || options().issuer("a").issuer("b");
    for (iss, expected) in [
        (json!("a"), "ok"),
        (json!("b"), "ok"),
        (json!("c"), "wrong_issuer"),
        (json!(["a"]), "malformed"),
    ] {
        assert_eq!(
            code(ours(), &token(&json!({"iss": iss}))),
            expected,
            "{iss}"
        );
    }
    assert_eq!(code(ours(), &token(&json!({}))), "wrong_issuer");
    assert_eq!(code(options(), &token(&json!({"iss": "c"}))), "ok");
}

#[test]
fn a_public_key_is_never_an_hmac_secret() {
    for pem in [pem!("rsa.pub"), pem!("p256.pub"), pem!("ed25519.pub")] {
        let forged = SigningKey::from_secret(pem)
            .unwrap()
            .mint(&claims(&json!({})))
            .unwrap();
        let options = JwtOptions::public_key(pem).unwrap();
        assert_eq!(code(options, &forged), "unsupported");
    }
    let rsa = SigningKey::from_pem(pem!("rsa")).unwrap();
    let signed = rsa.mint(&claims(&json!({}))).unwrap();
    assert_eq!(code(options(), &signed), "unsupported");
    assert_eq!(
        verify(options(), &signed).unwrap_err().to_string(),
        "the algorithm RS256 is not accepted with the configured keys"
    );
}

#[test]
fn an_algorithm_of_another_kind_and_none_are_refused() {
    for alg in [
        "none", "None", "NONE", "", "ES256", "RS256", "HS1024", "ES512", "EdDSA",
    ] {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        assert_eq!(
            code(options(), &raw(&header, &payload())),
            "unsupported",
            "{alg}"
        );
        let unsigned = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(&header),
            URL_SAFE_NO_PAD.encode(payload())
        );
        assert_eq!(code(options(), &unsigned), "unsupported", "{alg}");
    }
    let hs512 = hmac().algorithm(Algorithm::Hs512).unwrap();
    let signed = hs512.mint(&claims(&json!({}))).unwrap();
    assert_eq!(code(options(), &signed), "ok");
    assert_eq!(
        code(options().algorithms(&[Algorithm::Hs256]), &signed),
        "unsupported"
    );
    // RFC 7518 section 3.2: 64 bytes.
    let short = JwtOptions::secret(&SECRET[..32]).unwrap();
    assert_eq!(code(short, &signed), "unsupported");
}

#[test]
fn headers_that_change_the_meaning_of_a_token_are_refused() {
    for (header, expected) in [
        (r#"{"alg":"HS256"}"#, "ok"),
        (r#"{"alg":"HS256","typ":"JWT"}"#, "ok"),
        (r#"{"alg":"HS256","typ":"application/at+jwt"}"#, "ok"),
        (r#"{"alg":"HS256","typ":"at+JWT","x":[{}]}"#, "ok"),
        (
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"http://a"}"#,
            "ok",
        ),
        (r#"{"alg":"HS256","typ":"dpop+jwt"}"#, "malformed"),
        (r#"{"alg":"HS256","typ":1}"#, "malformed"),
        (r#"{"alg":"HS256","crit":["exp"]}"#, "malformed"),
        (r#"{"alg":"HS256","crit":[]}"#, "malformed"),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, "malformed"),
        (r#"{"alg":"HS256","cty":"JWT"}"#, "malformed"),
        (r#"{"alg":"HS256","alg":"HS256"}"#, "malformed"),
        (r#"{"alg":"none","\u0061lg":"HS256"}"#, "malformed"),
        (r#"{"alg":"HS256","x":{"y":1,"y":2}}"#, "malformed"),
        (r#"{"alg":["HS256"]}"#, "malformed"),
        (r#"{"typ":"JWT"}"#, "malformed"),
        (r#"{"alg":"HS256","kid":1}"#, "malformed"),
        (r#"["HS256"]"#, "malformed"),
        ("", "malformed"),
    ] {
        assert_eq!(
            code(options(), &raw(header, &payload())),
            expected,
            "{header}"
        );
    }
}

#[test]
fn duplicate_claims_and_deep_ones_are_refused() {
    for payload in [
        format!(r#"{{"exp":{},"exp":1}}"#, NOW + 60),
        format!(r#"{{"exp":{0},"e\u0078p":{0}}}"#, NOW + 60),
        format!(r#"{{"exp":{},"x":{{"a":1,"a":1}}}}"#, NOW + 60),
        format!(
            r#"{{"exp":{},"x":{}{}}}"#,
            NOW + 60,
            "[".repeat(20),
            "]".repeat(20)
        ),
        "[]".to_owned(),
        "x".to_owned(),
        String::new(),
    ] {
        assert_eq!(
            code(options(), &raw(HS256, &payload)),
            "malformed",
            "{payload}"
        );
    }
    for (sub, expected) in [
        ("s".repeat(SUBJECT_BYTES), "ok"),
        ("s".repeat(SUBJECT_BYTES + 1), "malformed"),
        ("a\nb".to_owned(), "malformed"),
    ] {
        assert_eq!(code(options(), &token(&json!({"sub": sub}))), expected);
    }
}

#[test]
fn the_form_of_a_token_is_exact() {
    let good = token(&json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let &[header, payload, signature] = &parts[..] else {
        panic!("three parts");
    };
    let padded = |text: &str| URL_SAFE.encode(URL_SAFE_NO_PAD.decode(text).unwrap());
    let standard = |text: &str| STANDARD.encode(URL_SAFE_NO_PAD.decode(text).unwrap());
    for (bad, expected) in [
        (String::new(), "missing"),
        (format!("{header}.{payload}"), "malformed"),
        (format!("{good}."), "malformed"),
        (format!("{good}.a.b"), "malformed"),
        (format!(".{good}"), "malformed"),
        (format!("{good} "), "malformed"),
        (format!("{good}\n"), "malformed"),
        (format!(" {good}"), "malformed"),
        (format!("{header}.{payload}."), "bad_signature"),
        (format!("{header}.{payload}.{signature}A"), "bad_signature"),
        (format!("{header}.{payload}.{signature}AA"), "malformed"),
        (
            format!("{header}.{payload}.{signature}AAAAA"),
            "bad_signature",
        ),
        (
            format!("{header}.{payload}.{}", padded(signature)),
            "malformed",
        ),
        (format!("{header}=.{payload}.{signature}"), "malformed"),
        (format!("{header}.{payload}=.{signature}"), "malformed"),
        (
            format!("{header}.{payload}.{}", standard(signature)),
            "malformed",
        ),
        (format!("{header}..{signature}"), "bad_signature"),
        (format!("..{signature}"), "malformed"),
        ("..".to_owned(), "malformed"),
        ("é.é.é".to_owned(), "malformed"),
    ] {
        assert_eq!(code(options(), &bad), expected, "{bad:?}");
    }
}

#[test]
fn a_change_of_any_character_is_noticed() {
    let good = token(&json!({"sub": "alice"}));
    for place in 0..good.len() {
        for other in ["A", "B", "_", "."] {
            let changed = format!("{}{other}{}", &good[..place], &good[place + 1..]);
            assert!(
                changed == good || verify(options(), &changed).is_err(),
                "{changed}"
            );
        }
    }
}

#[test]
fn another_secret_or_key_is_refused() {
    let good = token(&json!({}));
    let other = JwtOptions::secret(&[1; 64]).unwrap();
    assert_eq!(code(other, &good), "bad_signature");
    let signed = SigningKey::from_pem(pem!("p256"))
        .unwrap()
        .mint(&claims(&json!({})))
        .unwrap();
    assert_eq!(
        code(JwtOptions::public_key(pem!("p384.pub")).unwrap(), &signed),
        "unsupported"
    );
    assert_eq!(
        code(JwtOptions::public_key(pem!("p256.pub")).unwrap(), &signed),
        "ok"
    );
}

#[test]
fn a_signature_in_der_is_refused() {
    let options = || JwtOptions::public_key(pem!("p256.pub")).unwrap();
    let key = SigningKey::from_pem(pem!("p256")).unwrap();
    let good = key.mint(&claims(&json!({}))).unwrap();
    assert_eq!(code(options(), &good), "ok");
    let (message, _) = good.rsplit_once('.').unwrap();
    let der = crate::token::pem::decode(pem!("p256")).unwrap().der;
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random).unwrap();
    let signature = pair.sign(&random, message.as_bytes()).unwrap();
    let der = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(code(options(), &der), "bad_signature");
    // The "psychic signature".
    let zeros = format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]));
    assert_eq!(code(options(), &zeros), "bad_signature");
}

#[test]
fn an_oversized_token_is_refused_before_it_is_decoded() {
    let sized = |bytes: usize| {
        let empty = raw(HS256, &claims(&json!({"x": ""})).to_string()).len();
        let fill = (bytes - empty) * 3 / 4;
        let mut best = String::new();
        for fill in fill - 4..fill + 4 {
            let token = raw(HS256, &claims(&json!({"x": "x".repeat(fill)})).to_string());
            if token.len() <= bytes {
                best = token;
            }
        }
        best
    };
    let most = sized(TOKEN_BYTES);
    assert!(most.len() > TOKEN_BYTES - 3);
    assert_eq!(code(options(), &most), "ok");
    assert_eq!(
        verify(options(), &format!("{most}{}", "!".repeat(4)))
            .unwrap_err()
            .to_string(),
        "the token is malformed: it has more than 8192 bytes"
    );
}

/// The JWK of the P-256 key, with a key id.
fn jwk(kid: &str) -> Value {
    let pem = crate::token::pem::decode(pem!("p256.pub")).unwrap();
    let point = &pem.der[pem.der.len() - 64..];
    let [x, y] = [&point[..32], &point[32..]].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y})
}

fn set(keys: &Value) -> JwtOptions {
    JwtOptions::jwks(Jwks::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap())
}

#[test]
fn a_key_of_a_set_is_selected_by_its_id() {
    let other = json!({
        "kty": "EC", "crv": "P-256", "kid": "b",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let okp = json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "a",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    let both = || set(&json!([other, jwk("a"), okp]));
    let signed = |kid: Option<&str>| {
        let key = SigningKey::from_pem(pem!("p256")).unwrap();
        let key = match kid {
            Some(kid) => key.kid(kid),
            None => key,
        };
        key.mint(&claims(&json!({}))).unwrap()
    };
    assert_eq!(code(both(), &signed(Some("a"))), "ok");
    assert_eq!(code(both(), &signed(Some("b"))), "bad_signature");
    assert_eq!(code(both(), &signed(None)), "malformed");
    assert_eq!(code(set(&json!([jwk("a"), okp])), &signed(None)), "ok");
    assert_eq!(code(set(&json!([okp])), &signed(None)), "unsupported");
    assert_eq!(code(set(&json!([okp])), &signed(Some("a"))), "unsupported");
    assert_eq!(
        verify(both(), &signed(Some("c"))),
        Err(AuthError::UnknownKey {
            kid: Some("c".into())
        })
    );
    assert_eq!(
        verify(set(&json!([])), &signed(None)),
        Err(AuthError::UnknownKey { kid: None })
    );
    assert_eq!(
        code(both(), &signed(Some(&"k".repeat(KEY_ID_BYTES)))),
        "unknown_key"
    );
    assert_eq!(
        code(both(), &signed(Some(&"k".repeat(KEY_ID_BYTES + 1)))),
        "malformed"
    );
    // A set has no secrets, so an HMAC is never one of its signatures.
    assert_eq!(
        code(both(), &hmac().kid("a").mint(&claims(&json!({}))).unwrap()),
        "unsupported"
    );
}

#[test]
fn a_replaced_set_is_in_force_at_once() {
    let key = SigningKey::from_pem(pem!("p256")).unwrap().kid("new");
    let signed = key.mint(&claims(&json!({}))).unwrap();
    let verifier = JwtVerifier::new(set(&json!([jwk("old")])));
    assert_eq!(
        verifier.verify(&signed, now()).unwrap_err().code(),
        "unknown_key"
    );
    let new = Jwks::parse(json!({"keys": [jwk("new")]}).to_string().as_bytes()).unwrap();
    assert!(verifier.set_jwks(new.clone()));
    assert!(!verifier.set_jwks(new));
    let identity = verifier.verify(&signed, now()).unwrap();
    let crate::IdentityKind::Token { key } = identity.kind() else {
        panic!("{identity:?}");
    };
    assert!(verifier.has_key(*key));
    assert!(verifier.set_jwks(Jwks::default()));
    assert!(!verifier.has_key(*key));
}

#[test]
fn nothing_printed_contains_a_secret() {
    let key = hmac();
    let verifier = JwtVerifier::new(options());
    let printed = format!("{key:?} {verifier:?} {:?}", options());
    let secret = std::str::from_utf8(SECRET).unwrap();
    let bytes = format!("{SECRET:?}");
    assert!(
        !printed.contains(&secret[..10]) && !printed.contains(&bytes[1..20]),
        "{printed}"
    );
}
