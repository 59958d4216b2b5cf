//! The compact form of a signed token: `header.payload.signature`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Algorithm, json};
use crate::AuthError;
use crate::limits::{KEY_ID_BYTES, TOKEN_BYTES};

/// The type of an access token (RFC 9068 section 2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// A token whose signature hasn't been verified yet.
pub(super) struct Compact<'a> {
    pub(super) header: Header,
    /// The signed text: the first two parts with the dot.
    pub(super) message: &'a str,
    pub(super) signature: Vec<u8>,
    payload: Vec<u8>,
}

/// The parts of a header that the verifier uses. Keys in the header (`jwk`, `jku`, `x5c`, `x5u`) are
/// never used (RFC 8725 section 3.10).
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Box<str>>,
    /// `true` if `typ` is `at+jwt`.
    pub(super) is_access_token: bool,
}

impl<'a> Compact<'a> {
    /// Splits and decodes a token and parses its header.
    pub(super) fn parse(token: &'a str) -> Result<Self, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        // Before anything is decoded.
        if token.len() > TOKEN_BYTES {
            return Err(AuthError::malformed(format!(
                "it has more than {TOKEN_BYTES} bytes"
            )));
        }
        let form = || AuthError::malformed("a token has three parts with dots between them");
        let (message, signature) = token.rsplit_once('.').ok_or_else(form)?;
        let (header, payload) = message.split_once('.').ok_or_else(form)?;
        if payload.contains('.') {
            return Err(form());
        }
        // RFC 7515 section 2: base64url without padding, line breaks or other characters. The engine
        // also refuses bits that are left over, so that a signature has one encoding.
        let decode = |part, name| {
            let bytes = URL_SAFE_NO_PAD.decode(part);
            bytes.map_err(|_| {
                AuthError::malformed(format!("its {name} is not base64url without padding"))
            })
        };
        let header = decode(header, "header")?;
        let header = json::object(&header)
            .map_err(|reason| AuthError::malformed(format!("its header: {reason}")))?;
        Ok(Self {
            header: Header::parse(&header)?,
            message,
            signature: decode(signature, "signature")?,
            payload: decode(payload, "payload")?,
        })
    }

    /// Parses the claims. The caller has verified the signature.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, AuthError> {
        let claims = json::object(&self.payload);
        claims.map_err(|reason| AuthError::malformed(format!("its claims: {reason}")))
    }
}

impl Header {
    fn parse(header: &Map<String, Value>) -> Result<Self, AuthError> {
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(&**text)),
            Some(_) => Err(AuthError::malformed(format!(
                "its header's {name} is not a string"
            ))),
        };
        // RFC 7515 section 4.1.11: an extension that isn't understood makes the token invalid. None
        // is understood here, `b64` of RFC 7797 included.
        if header.contains_key("crit") {
            return Err(AuthError::malformed(
                "its header has crit, and no extension is supported",
            ));
        }
        let name = text("alg")?;
        let name = name.ok_or_else(|| AuthError::malformed("its header has no alg"))?;
        let algorithm = name.parse().map_err(|_| AuthError::unsupported(name))?;
        // RFC 7519 section 5.2.
        if text("cty")?.is_some() {
            return Err(AuthError::malformed(
                "its header has cty, and nested tokens aren't supported",
            ));
        }
        // RFC 8725 section 3.11: a token that was made for something else has another type. RFC 7515
        // section 4.1.9 allows the prefix to be omitted.
        let typ = text("typ")?.unwrap_or("JWT").to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        if !matches!(typ, "jwt" | ACCESS_TOKEN) {
            return Err(AuthError::malformed(
                "its header's typ is neither JWT nor at+jwt",
            ));
        }
        let kid = text("kid")?;
        if kid.is_some_and(|kid| kid.len() > KEY_ID_BYTES) {
            let reason = format!("its header's kid has more than {KEY_ID_BYTES} bytes");
            return Err(AuthError::malformed(reason));
        }
        Ok(Self {
            algorithm,
            kid: kid.map(Box::from),
            is_access_token: typ == ACCESS_TOKEN,
        })
    }
}
