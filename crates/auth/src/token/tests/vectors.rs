//! The examples of RFC 7515 appendix A and RFC 8037 appendix A.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::token::VerificationKey;
use crate::{Algorithm, Jwks};

const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// The examples expire at this time.
const EXPIRES: u64 = 1_300_819_380;

fn check(options: JwtOptions, header: &str, signature: &str) {
    let verifier = JwtVerifier::new(options.issuer("joe").leeway(Duration::ZERO));
    let token = format!("{header}.{PAYLOAD}.{signature}");
    let identity = verifier.verify(&token, at(EXPIRES - 1)).unwrap();
    assert_eq!(identity.expires(), Some(at(EXPIRES)));
    assert!(identity.grants().is_empty());
    assert_eq!(
        verifier.verify(&token, at(EXPIRES)),
        Err(AuthError::Expired)
    );
}

fn jwk(jwk: &Value) -> JwtOptions {
    JwtOptions::jwks(Jwks::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap())
}

#[test]
fn appendix_a_1_is_an_hmac_with_sha_256() {
    let secret =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    check(
        JwtOptions::secret(&URL_SAFE_NO_PAD.decode(secret).unwrap()).unwrap(),
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    );
}

#[test]
fn appendix_a_2_is_an_rsa_signature() {
    check(
        jwk(&json!({
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB",
        })),
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
}

#[test]
fn appendix_a_3_is_an_ecdsa_signature_with_p_256() {
    check(
        jwk(&json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })),
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
}

#[test]
fn appendix_a_5_is_unsecured_and_refused() {
    let token = format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.");
    let verified = JwtVerifier::new(options()).verify(&token, at(EXPIRES - 1));
    assert_eq!(verified.unwrap_err().code(), "unsupported");
}

#[test]
fn rfc_8037_appendix_a_4_is_an_ed25519_signature() {
    let key = URL_SAFE_NO_PAD
        .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        .unwrap();
    let key = VerificationKey::ed25519(&key).unwrap();
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert!(key.verifies(Algorithm::EdDsa, message, &signature));
    assert!(!key.verifies(Algorithm::EdDsa, &message[1..], &signature));
    assert!(!key.verifies(Algorithm::Es256, message, &signature));
}
