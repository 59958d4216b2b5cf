use std::fmt;

use http::HeaderValue;

use super::{MAX_TOKEN_BYTES, failed};
use crate::error::Error;

/// A token that a header can carry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bearer(String);

impl Bearer {
    /// Validates a token. The error doesn't contain it.
    pub(super) fn new(token: String) -> Result<Self, Error> {
        match fault(&token) {
            None => Ok(Self(token)),
            Some(fault) => Err(failed(format_args!("it {fault}"))),
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// The value of `Authorization`.
    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0))
            .map_err(|_| failed("it holds a control character"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Doesn't show the token.
impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// Describes why a header can't carry a token.
pub(super) fn fault(token: &str) -> Option<String> {
    if token.is_empty() {
        return Some("is empty".to_owned());
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Some(format!(
            "is longer than the limit of {MAX_TOKEN_BYTES} bytes"
        ));
    }
    if let Some(at) = token.bytes().position(|byte| byte.is_ascii_control()) {
        return Some(format!(
            "holds a control character at byte {at}, which no header can carry"
        ));
    }
    // A server removes it from the header's value.
    (token.trim() != token).then(|| "begins or ends with white space".to_owned())
}
