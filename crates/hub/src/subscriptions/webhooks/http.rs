//! The endpoints for the receivers of webhooks.

use http::{HeaderValue, header};
use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use headwater::{App, Json, Operation, OperationOutput, Path, StatusCode, get, operation, post};
use schemars::JsonSchema;
use serde::Serialize;

use crate::subscriptions::{
    Subscriptions,
    engine::Command,
    http::take,
    keys::Keys,
    refusal::Refusal,
    request::Bearer,
    request_bodies::Progress,
    response_bodies::{AckView, ErrorView},
};

/// Adds the routes.
pub(in crate::subscriptions) fn routes(app: App<Subscriptions>) -> App<Subscriptions> {
    let refused = StatusCode::CONFLICT;
    app.route(
        "/__ds/subscriptions/{id}/callback",
        post(callback).reply::<ErrorView>(refused, "The wake is over"),
    )
    .route("/__ds/jwks.json", get(jwks))
}

/// Acknowledges a webhook's wake, with the token that came with it.
///
/// Without `done` this renews the lease. With `done` it ends the wake.
#[operation]
async fn callback(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    Bearer(token): Bearer,
    Json(progress): Json<Progress>,
) -> Result<Json<AckView>, Refusal> {
    take(&subscriptions, &id, token, progress, true).await
}

/// Returns the public keys that webhooks are signed with.
#[operation]
async fn jwks(State(subscriptions): State<Subscriptions>) -> Result<KeySet, Refusal> {
    let keys = subscriptions.ask(|answer| Command::Keys { answer }).await?;
    Ok(KeySet(Jwks::new(&keys)))
}

/// Public keys, with the content type of RFC 7517.
struct KeySet(Jwks);

impl IntoResponse for KeySet {
    fn into_response(self) -> Response {
        let mut response = Json(self.0).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/jwk-set+json");
        headers.insert(header::CONTENT_TYPE, json);
        let cache = HeaderValue::from_static("public, max-age=300");
        headers.insert(header::CACHE_CONTROL, cache);
        response
    }
}

impl OperationOutput for KeySet {
    fn describe(operation: &mut Operation) {
        operation.raw_reply(
            StatusCode::OK,
            "application/jwk-set+json",
            "A JWK Set (RFC 7517)",
        );
    }
}

/// The keys that webhooks are signed with: a JWK Set (RFC 7517).
#[derive(Debug, Serialize, JsonSchema)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// A public key (RFC 8037).
#[derive(Debug, Serialize, JsonSchema)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    kid: String,
    #[serde(rename = "use")]
    purpose: &'static str,
    alg: &'static str,
    x: String,
}

impl Jwks {
    fn new(keys: &Arc<Keys>) -> Self {
        Self {
            keys: vec![Jwk {
                kty: "OKP",
                crv: "Ed25519",
                kid: keys.kid().to_owned(),
                purpose: "sig",
                alg: "EdDSA",
                x: keys.public(),
            }],
        }
    }
}
