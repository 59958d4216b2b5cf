//! The extractor of a verified token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{FromRef, FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use headwater_auth::{AuthError, Authenticator, Identity};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Problem, negotiate};

/// Longest wait until an expiry is compared with the clock again, which may have been set, and until a
/// removed key of an issuer is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The claims of a request's token: `Authorization: Bearer` with a JSON Web Token (RFC 7519), which is
/// verified.
///
/// `C` is a type with the claims that the handler needs. The app's state has the verifier, an
/// `Arc<Authenticator>` of `headwater-auth`; the state may be that alone, or a type from which
/// [`FromRef`] takes it. A hub can share it.
///
/// ```
/// use std::{sync::Arc, time::{Duration, SystemTime}};
///
/// use headwater::{App, Auth, get, test::TestClient};
/// use headwater_auth::{Authenticator, Claims, JwtOptions, JwtVerifier, SigningKey};
///
/// #[derive(serde::Deserialize)]
/// struct User {
///     sub: String,
/// }
///
/// async fn name(Auth { claims, .. }: Auth<User>) -> String {
///     claims.sub
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = [7; 32];
/// let verifier = JwtVerifier::new(JwtOptions::secret(&secret)?);
/// let app = App::new("Users", "1.0.0")
///     .route("/name", get(name))
///     .with_state(Arc::new(Authenticator::new().jwt(verifier)));
///
/// let claims = Claims::new(SystemTime::now() + Duration::from_secs(60)).subject("alice");
/// let token = SigningKey::from_secret(&secret)?.mint(&claims)?;
/// let client = TestClient::new(app);
/// let request = client.get("/name").header("authorization", &format!("Bearer {token}"));
/// assert_eq!(request.send().await.text().await, "alice");
/// assert_eq!(client.get("/name").send().await.status(), 401);
/// # Ok(())
/// # }
/// ```
///
/// With `Option<Auth<C>>`, a request without a token is accepted, and one with an invalid token is
/// refused.
///
/// A [`Streaming`](crate::Streaming) or [`Raw`](crate::Raw) response of the handler ends within a second
/// of the token's expiry, and within about a minute after its issuer has removed its key, as
/// [`end_early`](crate::end_early) ends a response. This needs [`layer`](crate::layer), which
/// [`serve`](crate::serve) includes. Other responses that stay open don't end.
///
/// In the OpenAPI document, the operation requires the security scheme `token`, which the extractor
/// describes unless the app does.
///
/// # Error responses
/// They are problems with a `code`, and have `WWW-Authenticate` (RFC 6750 §3).
/// - 401: there is no token (`token_missing`), or it isn't valid (`token_expired` and so on).
/// - 403 `claims_missing`: the token is valid, but `C` can't be read from its claims.
///
/// The keys of a hub (`hwk_…`) have no claims and are refused.
#[derive(Debug, Clone)]
pub struct Auth<C> {
    /// The claims.
    pub claims: C,
    /// The identity: the subject, the expiry, and the grants of the claim `headwater`.
    pub identity: Identity,
}

/// The reason for which [`Auth`] refuses a request.
#[derive(Debug)]
pub struct AuthRejection {
    problem: Box<Problem>,
    challenge: String,
}

impl AuthRejection {
    fn claims(error: &serde_json::Error) -> Self {
        // The error has the name of a claim or a value, but nothing of the signature.
        let problem = Problem::new(StatusCode::FORBIDDEN)
            .detail(format!("the token lacks claims that this needs: {error}"))
            .with("code", "claims_missing");
        Self {
            problem: Box::new(problem),
            challenge: "Bearer error=\"insufficient_scope\"".to_owned(),
        }
    }
}

impl From<AuthError> for AuthRejection {
    fn from(error: AuthError) -> Self {
        Self {
            problem: Box::new(problem(&error)),
            challenge: error.challenge(),
        }
    }
}

impl From<AuthRejection> for Problem {
    fn from(rejection: AuthRejection) -> Self {
        *rejection.problem
    }
}

impl IntoResponse for AuthRejection {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        if let Ok(challenge) = HeaderValue::try_from(self.challenge) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn problem(error: &AuthError) -> Problem {
    let detail = match error {
        AuthError::Missing => "this needs a token: Authorization: Bearer …".to_owned(),
        error => error.to_string(),
    };
    Problem::new(StatusCode::UNAUTHORIZED)
        .detail(detail)
        .with("code", format!("token_{}", error.code()))
}

impl<S, C> FromRequestParts<S> for Auth<C>
where
    C: DeserializeOwned,
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AuthRejection> {
        let authenticator = Arc::<Authenticator>::from_ref(state);
        let token = bearer(&parts.headers)?.ok_or(AuthError::Missing)?;
        let (identity, claims) = authenticator.claims(token, SystemTime::now())?;
        let claims = serde_json::from_value(Value::Object(claims));
        let claims = claims.map_err(|error| AuthRejection::claims(&error))?;
        negotiate::end_with(over(authenticator, identity.clone()));
        Ok(Self { claims, identity })
    }
}

impl<S, C> OptionalFromRequestParts<S> for Auth<C>
where
    C: DeserializeOwned,
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = AuthRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, AuthRejection> {
        if !parts.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map(Some)
    }
}

/// Returns the request's token, if it has one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let values = headers.get_all(header::AUTHORIZATION).iter();
    headwater_auth::bearer(values.map(HeaderValue::as_bytes))
}

/// Waits until an identity isn't valid any more. Returns the problem.
async fn over(authenticator: Arc<Authenticator>, identity: Identity) -> Option<Problem> {
    loop {
        let now = SystemTime::now();
        if let Err(error) = authenticator.recheck(&identity, now) {
            return Some(problem(&error));
        }
        let left = identity.expires().map_or(LOOK_EVERY, |at| {
            at.duration_since(now).unwrap_or_default().min(LOOK_EVERY)
        });
        // Rounded up: an early look would find it still valid.
        tokio::time::sleep(left + Duration::from_millis(1)).await;
    }
}

#[cfg(feature = "openapi")]
mod describe {
    use http::StatusCode;

    use super::Auth;
    use crate::{Operation, OperationInput, SecurityScheme};

    /// The name of the security scheme.
    const SCHEME: &str = "token";

    const CHALLENGE: &str = "The kind of credentials, and the reason (RFC 6750)";

    impl<C> OperationInput for Auth<C> {
        fn describe(operation: &mut Operation) {
            let scheme = SecurityScheme::bearer().description("A JSON Web Token (RFC 7519).");
            operation.security_scheme(SCHEME, scheme);
            for (status, description) in [
                (
                    StatusCode::UNAUTHORIZED,
                    "The token is missing or not valid; the problem has the reason",
                ),
                (
                    StatusCode::FORBIDDEN,
                    "The token lacks claims that this needs",
                ),
            ] {
                operation.error(status, description);
                operation.reply_header(status, "WWW-Authenticate", CHALLENGE);
            }
        }

        fn describe_optional(operation: &mut Operation) {
            Self::describe(operation);
            operation.optional_security();
        }
    }
}
