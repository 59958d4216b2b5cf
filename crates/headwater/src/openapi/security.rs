use serde_json::{Value, json};

use crate::In;

/// A way in which callers prove who they are (OpenAPI 3.2, Security Scheme Object).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityScheme(Value);

impl SecurityScheme {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    #[must_use]
    pub fn bearer() -> Self {
        Self(json!({"type": "http", "scheme": "bearer"}))
    }

    /// `Authorization: Basic …` (RFC 7617).
    #[must_use]
    pub fn basic() -> Self {
        Self(json!({"type": "http", "scheme": "basic"}))
    }

    /// A key in a header, a cookie or the query, by its name there.
    ///
    /// # Panics
    /// The place is the path, where OpenAPI knows no key.
    #[must_use]
    pub fn api_key(place: In, name: &str) -> Self {
        assert!(place != In::Path, "an API key can't stand in the path");
        Self(json!({"type": "apiKey", "in": place.as_str(), "name": name}))
    }

    /// OpenID Connect, by the URL of its discovery document.
    #[must_use]
    pub fn openid_connect(url: &str) -> Self {
        Self(json!({"type": "openIdConnect", "openIdConnectUrl": url}))
    }

    /// Sets the description, in Markdown.
    #[must_use]
    pub fn description(mut self, description: &str) -> Self {
        self.0["description"] = description.into();
        self
    }

    pub(crate) fn to_value(&self) -> Value {
        self.0.clone()
    }
}
