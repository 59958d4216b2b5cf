use serde_json::{Value, json};

use crate::In;

/// A method by which callers authenticate (OpenAPI 3.2, Security Scheme Object). It is only described:
/// the handler, or a layer, checks the credentials.
///
/// ```
/// use headwater::{App, In, SecurityScheme, get};
///
/// #[headwater::operation]
/// async fn account() -> &'static str {
///     "yours"
/// }
///
/// let app: App = App::new("Accounts", "1.0.0")
///     .security_scheme("token", SecurityScheme::bearer())
///     .security_scheme("key", SecurityScheme::api_key(In::Header, "x-api-key"))
///     .route("/account", get(account).security("token"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityScheme(Value);

impl SecurityScheme {
    /// Creates a scheme for `Authorization: Bearer …` (RFC 6750 §2.1).
    #[must_use]
    pub fn bearer() -> Self {
        Self(json!({"type": "http", "scheme": "bearer"}))
    }

    /// Creates a scheme for `Authorization: Basic …` (RFC 7617).
    #[must_use]
    pub fn basic() -> Self {
        Self(json!({"type": "http", "scheme": "basic"}))
    }

    /// Creates a scheme for a key with this name in a header, a cookie or the query.
    ///
    /// # Panics
    /// `place` is the path, which OpenAPI doesn't support for keys.
    #[must_use]
    pub fn api_key(place: In, name: &str) -> Self {
        assert!(place != In::Path, "an API key can't stand in the path");
        Self(json!({"type": "apiKey", "in": place.as_str(), "name": name}))
    }

    /// Creates a scheme for OpenID Connect, with the URL of its discovery document.
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
