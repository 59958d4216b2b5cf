//! JWK Sets (RFC 7517).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Algorithm, KeyError, VerificationKey, json};
use crate::limits::{JWKS_BYTES, JWKS_KEYS, KEY_ID_BYTES};

/// A set of public keys, as an issuer publishes it. Clones share it.
///
/// Keys that can't verify a supported signature are skipped (RFC 7517 section 5): those with an unknown
/// `kty`, `crv` or `alg`, a `use` other than `sig`, `key_ops` without `verify`, and those with invalid
/// values, such as an RSA key of 1024 bits. So are symmetric keys (`oct`): a secret that is published
/// isn't one. `alg` restricts a key to one algorithm.
#[derive(Clone, Debug, Default)]
pub struct Jwks {
    entries: Arc<[Entry]>,
    skipped: Arc<[String]>,
}

#[derive(Clone, Debug)]
struct Entry {
    kid: Option<Box<str>>,
    key: VerificationKey,
}

impl Jwks {
    /// Parses a set. One without a usable key is valid, and [`is_empty`](Self::is_empty): the issuer has withdrawn the
    /// others.
    ///
    /// # Errors
    /// It isn't a JWK Set, or it has more than [`JWKS_BYTES`] bytes or [`JWKS_KEYS`] keys.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > JWKS_BYTES {
            let bytes = bytes.len();
            return Err(KeyError::new(format!(
                "a JWK Set has at most {JWKS_BYTES} bytes, and this one has {bytes}"
            )));
        }
        let set = json::object(bytes)
            .map_err(|reason| KeyError::new(format!("the JWK Set is not valid JSON: {reason}")))?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(KeyError::new("a JWK Set is an object with an array `keys`"));
        };
        if keys.len() > JWKS_KEYS {
            let count = keys.len();
            return Err(KeyError::new(format!(
                "a JWK Set has at most {JWKS_KEYS} keys, and this one has {count}"
            )));
        }
        let mut entries = Vec::new();
        let mut skipped = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            match entry(key) {
                Ok(entry) => entries.push(entry),
                Err(reason) => skipped.push(format!("key {}: {reason}", index + 1)),
            }
        }
        Ok(Self {
            entries: entries.into(),
            skipped: skipped.into(),
        })
    }

    /// Returns the reason for each key that was skipped.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Returns the number of usable keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if there is no usable key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the keys with an id.
    pub(super) fn with_id(&self, kid: &str) -> impl Iterator<Item = &VerificationKey> {
        let keys = self
            .entries
            .iter()
            .filter(move |entry| entry.kid.as_deref() == Some(kid));
        keys.map(|entry| &entry.key)
    }

    /// Returns all keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &VerificationKey> {
        self.entries.iter().map(|entry| &entry.key)
    }
}

impl Entry {
    fn is(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.key.fingerprint() == other.key.fingerprint()
            && self.key.algorithms() == other.key.algorithms()
    }
}

/// Sets are equal if they have the same usable keys with the same ids, in any order.
impl PartialEq for Jwks {
    fn eq(&self, other: &Self) -> bool {
        // There are at most `JWKS_KEYS`.
        let has_all = |one: &[Entry], other: &[Entry]| {
            (other.iter()).all(|entry| one.iter().any(|known| known.is(entry)))
        };
        let (ours, theirs) = (&self.entries, &other.entries);
        Arc::ptr_eq(ours, theirs) || (has_all(ours, theirs) && has_all(theirs, ours))
    }
}

impl Eq for Jwks {}

/// Parses a JWK. The error is the reason for which it is skipped.
fn entry(jwk: &Value) -> Result<Entry, String> {
    let Value::Object(jwk) = jwk else {
        return Err("not an object".to_owned());
    };
    let text = |name: &str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(&**text)),
        Some(_) => Err(format!("`{name}` is not a string")),
    };
    // RFC 7517 sections 4.2 and 4.3.
    if text("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err("`use` is not sig".to_owned());
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|it| it == "verify") => {}
        Some(_) => return Err("`key_ops` has no verify".to_owned()),
    }
    let kid = text("kid")?;
    if kid.is_some_and(|kid| kid.len() > KEY_ID_BYTES) {
        return Err(format!("`kid` has more than {KEY_ID_BYTES} bytes"));
    }
    let bytes = |name: &str| {
        let value = text(name)?.ok_or_else(|| format!("`{name}` is missing"))?;
        let bytes = URL_SAFE_NO_PAD.decode(value);
        bytes.map_err(|_| format!("`{name}` is not base64url without padding"))
    };
    // RFC 7518 section 6.2.1: the coordinates have the full size.
    let point = || Ok::<_, String>([&[4], &*bytes("x")?, &*bytes("y")?].concat());
    let key = match (text("kty")?, text("crv")?) {
        (None, _) => return Err("`kty` is missing".to_owned()),
        (Some("RSA"), _) => VerificationKey::rsa(&bytes("n")?, &bytes("e")?),
        (Some("EC"), Some("P-256")) => VerificationKey::p256(&point()?),
        (Some("EC"), Some("P-384")) => VerificationKey::p384(&point()?),
        // RFC 8037 section 2.
        (Some("OKP"), Some("Ed25519")) => VerificationKey::ed25519(&bytes("x")?),
        _ => return Err("its `kty` or `crv` is not supported".to_owned()),
    };
    let mut key = key.map_err(|error| error.to_string())?;
    if let Some(name) = text("alg")? {
        let named = name.parse::<Algorithm>();
        key = key.restricted(|algorithm| named == Ok(algorithm));
    }
    if key.algorithms().is_empty() {
        return Err("its `alg` is not one of the key's kind".to_owned());
    }
    let kid = kid.map(Box::from);
    Ok(Entry { kid, key })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The key of RFC 7515 appendix A.3.
    fn ec() -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "kid": "a",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    fn parse(keys: &Value) -> Result<Jwks, KeyError> {
        Jwks::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    /// The key with other members.
    fn with(changes: &Value) -> Value {
        let mut key = ec();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn a_key_that_cant_verify_is_skipped() {
        for changes in [
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"kty": "new"}),
            json!({"crv": "P-521"}),
            json!({"kty": "OKP", "crv": "X25519"}),
            json!({"use": "enc"}),
            json!({"key_ops": ["sign"]}),
            json!({"alg": "ES384"}),
            json!({"alg": "HS256"}),
            json!({"alg": "none"}),
        ] {
            let set = parse(&json!([with(&changes), ec()])).unwrap();
            assert_eq!(set.len(), 1, "{changes}");
        }
        let used = with(&json!({"use": "sig", "key_ops": ["verify"], "alg": "ES256"}));
        assert_eq!(parse(&json!([used])).unwrap().len(), 1);
    }

    #[test]
    fn a_key_with_invalid_values_is_skipped_with_the_reason() {
        let small = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"});
        for (key, part) in [
            (
                small,
                "an RSA key has 2048 to 8192 bits, and this one has 1024",
            ),
            (with(&json!({"x": "AAAA"})), "not an uncompressed point"),
            (with(&json!({"x": "A*"})), "`x` is not base64url"),
            (with(&json!({"y": null})), "`y` is not a string"),
            (with(&json!({"kty": 1})), "`kty` is not a string"),
            (
                with(&json!({"kid": "k".repeat(KEY_ID_BYTES + 1)})),
                "more than 256 bytes",
            ),
            (with(&json!({"key_ops": "verify"})), "no verify"),
            (json!({}), "`kty` is missing"),
            (json!([]), "not an object"),
        ] {
            let set = parse(&json!([ec(), key])).unwrap();
            assert_eq!(set.len(), 1);
            let reason = &set.skipped()[0];
            assert!(
                reason.starts_with("key 2: ") && reason.contains(part),
                "{reason}"
            );
            let alone = parse(&json!([key])).unwrap();
            assert!(alone.is_empty() && alone.skipped()[0].contains(part));
        }
        let longest = with(&json!({"kid": "k".repeat(KEY_ID_BYTES)}));
        assert_eq!(parse(&json!([longest])).unwrap().len(), 1);
    }

    #[test]
    fn bytes_and_keys_are_limited() {
        let many = |count| parse(&json!(vec![ec(); count]));
        assert_eq!(many(JWKS_KEYS).unwrap().len(), JWKS_KEYS);
        assert!(many(JWKS_KEYS + 1).is_err());
        let mut bytes = br#"{"keys":[]}"#.to_vec();
        bytes.resize(JWKS_BYTES, b' ');
        assert!(Jwks::parse(&bytes).unwrap().is_empty());
        bytes.push(b' ');
        assert!(Jwks::parse(&bytes).is_err());
        for bad in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert!(Jwks::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn sets_are_equal_if_their_keys_are() {
        let one = parse(&json!([ec()])).unwrap();
        assert_eq!(one, parse(&json!([ec(), {"kty": "new"}])).unwrap());
        assert_ne!(one, parse(&json!([with(&json!({"kid": "b"}))])).unwrap());
        assert_ne!(one, parse(&json!([])).unwrap());
    }

    #[test]
    fn the_order_of_a_set_and_repeated_keys_make_no_difference() {
        let other = || with(&json!({"kid": "b"}));
        let both = parse(&json!([ec(), other()])).unwrap();
        assert_eq!(both, parse(&json!([other(), ec()])).unwrap());
        assert_eq!(both, parse(&json!([other(), ec(), other()])).unwrap());
        for less in [json!([ec()]), json!([other(), other()])] {
            let less = parse(&less).unwrap();
            assert_ne!(both, less);
            assert_ne!(less, both);
        }
    }
}
