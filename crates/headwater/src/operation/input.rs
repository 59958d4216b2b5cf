use axum::{
    body::{Body, Bytes},
    extract::{
        ConnectInfo, Extension, MatchedPath, OriginalUri, RawPathParams, RawQuery, Request, State,
    },
};
use http::{Extensions, HeaderMap, Method, Uri, Version, request::Parts};

use super::{In, Operation};
use crate::{BodyClock, LastEventId, RequestOrigin};

/// An extractor that documents the parts of a request that it reads.
///
/// Headwater's own extractors implement it, and those of axum's that read no parameters. Implement
/// it for an extractor of your own. The method may be empty if nothing belongs in the document:
///
/// ```
/// use axum::extract::FromRequestParts;
/// use headwater::{In, Operation, OperationInput, Problem, StatusCode};
///
/// /// The user that the token belongs to.
/// struct User(String);
///
/// impl<S: Sync> FromRequestParts<S> for User {
///     type Rejection = Problem;
///
///     async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Problem> {
///         match parts.headers.get("authorization") {
///             Some(token) if token == "Bearer secret" => Ok(User("ann".to_owned())),
///             _ => Err(Problem::new(StatusCode::UNAUTHORIZED)),
///         }
///     }
/// }
///
/// impl OperationInput for User {
///     fn describe(operation: &mut Operation) {
///         operation.security("token"); // A security scheme of the app
///         operation.error(StatusCode::UNAUTHORIZED, "The token is missing or wrong");
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an argument of an operation: it does not describe its input",
    note = "for parameters and bodies use headwater's `Path`, `Query`, `Headers`, `Cookies` and `Json`, which also \
        validate them; their type needs `#[derive(serde::Deserialize, schemars::JsonSchema)]`",
    note = "for an extractor of your own, `impl headwater::OperationInput for …`"
)]
pub trait OperationInput {
    /// Adds the parts of a request that the extractor reads, and its error responses.
    fn describe(operation: &mut Operation) {
        let _ = operation;
    }

    /// As [`describe`](Self::describe), for an extractor in an `Option`: what it reads may be absent.
    fn describe_optional(operation: &mut Operation) {
        Self::describe(operation);
        operation.optional_body();
    }
}

macro_rules! reads_nothing {
    ($($extractor:ty),* $(,)?) => {$(
        impl OperationInput for $extractor {}
    )*};
}

reads_nothing!(
    (),
    BodyClock,
    Extensions,
    HeaderMap,
    MatchedPath,
    Method,
    OriginalUri,
    Parts,
    RawPathParams,
    RawQuery,
    RequestOrigin,
    Uri,
    Version,
);

impl<T> OperationInput for ConnectInfo<T> {}
impl<T> OperationInput for Extension<T> {}
impl<T> OperationInput for State<T> {}

impl OperationInput for LastEventId {
    fn describe(operation: &mut Operation) {
        operation.parameter::<String>(
            In::Header,
            "Last-Event-ID",
            "The id of the last item that the client received. The stream resumes after it.",
        );
        operation.parameter::<String>(
            In::Query,
            "lastEventId",
            "As `Last-Event-ID`, for clients that can't set headers. The header takes precedence. Other \
             spellings, such as `last_event_id`, are accepted too.",
        );
    }
}

impl OperationInput for Request {
    fn describe(operation: &mut Operation) {
        Body::describe(operation);
    }
}

impl OperationInput for Body {
    fn describe(operation: &mut Operation) {
        operation.raw_body("*/*");
        operation.optional_body();
    }
}

impl OperationInput for Bytes {
    fn describe(operation: &mut Operation) {
        operation.raw_body("*/*");
        operation.optional_body();
        too_large(operation);
    }
}

impl OperationInput for String {
    fn describe(operation: &mut Operation) {
        operation.body::<Self>("text/plain");
        operation.optional_body();
        operation.error(http::StatusCode::BAD_REQUEST, "The body is not UTF-8");
        too_large(operation);
    }
}

impl<T: OperationInput> OperationInput for Option<T> {
    fn describe(operation: &mut Operation) {
        T::describe_optional(operation);
    }
}

impl<T: OperationInput, E> OperationInput for Result<T, E> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
        operation.optional_body();
    }
}

pub(crate) fn too_large(operation: &mut Operation) {
    operation.error(
        http::StatusCode::PAYLOAD_TOO_LARGE,
        "The body is larger than the limit",
    );
}
