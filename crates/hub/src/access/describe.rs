//! Authorization in the OpenAPI document.

use headwater::{App, In, Operation, SecurityScheme, StatusCode};

use super::{
    Need,
    credentials::{COOKIE, TICKET},
};

/// The names of the security schemes.
const BEARER: &str = "bearer";
const TICKET_SCHEME: &str = "ticket";
const COOKIE_SCHEME: &str = "cookie";

/// Documents the security schemes. `is_hooked`: the app decides about requests.
pub(super) fn schemes<S: Clone + Send + Sync + 'static>(app: App<S>, is_hooked: bool) -> App<S> {
    let bearer = match is_hooked {
        true => "A token that the application accepts, or a key or token of this hub.",
        false => "A key of this hub, or a JSON Web Token (RFC 6750).",
    };
    let ticket =
        "A ticket of `POST /tickets`, for clients that can't send headers. It is valid once.";
    let cookie =
        "A key or token in a cookie. Requests that change something also need an `Origin`.";
    app.security_scheme(BEARER, SecurityScheme::bearer().description(bearer))
        .security_scheme(
            TICKET_SCHEME,
            SecurityScheme::api_key(In::Query, TICKET).description(ticket),
        )
        .security_scheme(
            COOKIE_SCHEME,
            SecurityScheme::api_key(In::Cookie, COOKIE).description(cookie),
        )
}

/// Documents what an operation needs, and its refusals.
pub(super) fn operation(need: Need, operation: &mut Operation) {
    operation.security(BEARER);
    operation.security(COOKIE_SCHEME);
    if need.reads() {
        operation.security(TICKET_SCHEME);
    }
    if let Some(action) = need.action() {
        operation.scope(&action.to_string());
        let lacks = "The credentials don't allow this; the problem has the action";
        operation.error(StatusCode::FORBIDDEN, lacks);
    }
    let unknown = "The credentials are missing or not valid; the problem has the reason";
    operation.error(StatusCode::UNAUTHORIZED, unknown);
}
