use std::{borrow::Cow, convert::Infallible};

use axum::{
    body::{Body, Bytes},
    response::{Html, IntoResponse, NoContent, Redirect, Response, Sse},
};
use headwater_wire::Format;
use http::{HeaderMap, StatusCode};

use super::{Content, HasSchema, Operation, SchemaOf, Shape};
use crate::{Problem, Raw, Streaming, extract::Json};

/// A response that documents itself.
///
/// [`Streaming`], [`Json`], [`Raw`], [`Problem`], text, bytes, statuses and `Result` of them
/// implement it. An error type of your own documents its statuses and becomes a [`Problem`] in its
/// `IntoResponse`:
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use headwater::{Operation, OperationOutput, Problem, StatusCode};
///
/// enum OrderError {
///     SoldOut,
/// }
///
/// impl IntoResponse for OrderError {
///     fn into_response(self) -> Response {
///         Problem::new(StatusCode::CONFLICT).detail("sold out").into_response()
///     }
/// }
///
/// impl OperationOutput for OrderError {
///     fn describe(operation: &mut Operation) {
///         operation.error(StatusCode::CONFLICT, "What was ordered is sold out");
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the return type of an operation: it does not describe its response",
    note = "return `Streaming<T>` (not a stream itself) or `Json<T>`, or a `Result` of one with `Problem`, and put \
            `#[derive(serde::Serialize, schemars::JsonSchema)]` on `T`",
    note = "for a response of your own, `impl headwater::OperationOutput for …`"
)]
pub trait OperationOutput {
    /// Adds the possible replies.
    fn describe(operation: &mut Operation);
}

/// A response with status 201.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created<R>(pub R);

/// A response with status 202.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted<R>(pub R);

impl<R: IntoResponse> IntoResponse for Created<R> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, self.0).into_response()
    }
}

impl<R: IntoResponse> IntoResponse for Accepted<R> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, self.0).into_response()
    }
}

impl<R: OperationOutput> OperationOutput for Created<R> {
    fn describe(operation: &mut Operation) {
        operation.success_with::<R>(Some(StatusCode::CREATED));
    }
}

impl<R: OperationOutput> OperationOutput for Accepted<R> {
    fn describe(operation: &mut Operation) {
        operation.success_with::<R>(Some(StatusCode::ACCEPTED));
    }
}

impl<T: HasSchema> OperationOutput for Streaming<T> {
    fn describe(operation: &mut Operation) {
        let items = Shape::Items(SchemaOf::new::<T>());
        let content = Format::ALL.map(|format| (media_type(format), items)).into();
        operation.success("A stream of items", Content(content));
        operation.empty_reply(
            StatusCode::NO_CONTENT,
            "The stream has ended, and the client has already received its end",
        );
        operation.error(
            StatusCode::BAD_REQUEST,
            "The `format` or the `heartbeat` in the query is invalid",
        );
        operation.error(
            StatusCode::NOT_ACCEPTABLE,
            "None of the formats that the client accepts is offered",
        );
        operation.any_error();
    }
}

/// Returns the media type of a format, without parameters.
fn media_type(format: Format) -> &'static str {
    format.media_types()[0]
}

impl OperationOutput for Raw {
    fn describe(operation: &mut Operation) {
        operation.success("Chunks as they arrive", Content::of("*/*", Shape::Any));
        operation.any_error();
    }
}

impl<T: HasSchema> OperationOutput for Json<T> {
    fn describe(operation: &mut Operation) {
        let shape = Shape::Output(SchemaOf::new::<T>());
        operation.success("OK", Content::of("application/json", shape));
    }
}

impl<T: HasSchema> OperationOutput for axum::Json<T> {
    fn describe(operation: &mut Operation) {
        Json::<T>::describe(operation);
    }
}

impl OperationOutput for Problem {
    fn describe(operation: &mut Operation) {
        operation.any_error();
    }
}

impl<T: OperationOutput, E: OperationOutput> OperationOutput for Result<T, E> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
        E::describe(operation);
    }
}

impl OperationOutput for Infallible {
    fn describe(_: &mut Operation) {}
}

/// A status that is known only at run time.
impl OperationOutput for StatusCode {
    fn describe(operation: &mut Operation) {
        operation.add_reply(None, super::Reply::new("By its status", Content::none()));
    }
}

impl<R: OperationOutput> OperationOutput for (StatusCode, R) {
    fn describe(operation: &mut Operation) {
        operation.success_with::<R>(None);
    }
}

impl<R: OperationOutput> OperationOutput for (HeaderMap, R) {
    fn describe(operation: &mut Operation) {
        R::describe(operation);
    }
}

impl<K, V, R: OperationOutput, const N: usize> OperationOutput for ([(K, V); N], R) {
    fn describe(operation: &mut Operation) {
        R::describe(operation);
    }
}

impl OperationOutput for NoContent {
    fn describe(operation: &mut Operation) {
        operation.empty_reply(StatusCode::NO_CONTENT, "Done");
    }
}

impl OperationOutput for Redirect {
    fn describe(operation: &mut Operation) {
        operation.empty_reply(StatusCode::SEE_OTHER, "Elsewhere, by GET");
        operation.empty_reply(StatusCode::TEMPORARY_REDIRECT, "Elsewhere, this time");
        operation.empty_reply(StatusCode::PERMANENT_REDIRECT, "Elsewhere, for good");
    }
}

impl OperationOutput for () {
    fn describe(operation: &mut Operation) {
        operation.success("OK", Content::none());
    }
}

macro_rules! of_media_type {
    ($($media_type:literal $shape:ident: $response:ty),* $(,)?) => {$(
        impl OperationOutput for $response {
            fn describe(operation: &mut Operation) {
                operation.success("OK", Content::of($media_type, Shape::$shape));
            }
        }
    )*};
}

of_media_type!(
    "text/plain" Text: &'static str,
    "text/plain" Text: String,
    "text/plain" Text: Cow<'static, str>,
    "application/octet-stream" Any: Bytes,
    "application/octet-stream" Any: Vec<u8>,
    "application/octet-stream" Any: &'static [u8],
    "*/*" Any: Body,
    "*/*" Any: Response,
);

impl<T> OperationOutput for Html<T> {
    fn describe(operation: &mut Operation) {
        operation.success("A page", Content::of("text/html", Shape::Text));
    }
}

/// axum's own type, which doesn't contain the type of its events.
impl<S> OperationOutput for Sse<S> {
    fn describe(operation: &mut Operation) {
        let events = Content::of("text/event-stream", Shape::Text);
        operation.success("Server-Sent Events", events);
    }
}
