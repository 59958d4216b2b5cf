use std::{fmt, marker::PhantomData};

use axum::response::{IntoResponse, Response};

use super::{Operation, OperationOutput};

/// What a handler's doc comment says of it. [`#[operation]`](macro@crate::operation) implements it.
pub trait Docs {
    /// The function's name.
    const NAME: &'static str;
    /// The doc comment's first paragraph.
    const SUMMARY: &'static str;
    /// The rest of the doc comment, as Markdown.
    const DESCRIPTION: &'static str;
}

/// A response with the docs of the handler that it comes from, as a type.
///
/// Functions under [`#[operation]`](macro@crate::operation) return it, so that what is written above the
/// function reaches the document by types alone.
pub struct Described<R, D>(R, PhantomData<fn() -> D>);

impl<R, D> Described<R, D> {
    /// Puts the docs on a response.
    pub const fn new(response: R) -> Self {
        Self(response, PhantomData)
    }

    /// Gives the response itself: what the function returned, for a test that calls it.
    pub fn into_inner(self) -> R {
        self.0
    }
}

impl<R: IntoResponse, D> IntoResponse for Described<R, D> {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl<R: OperationOutput, D: Docs> OperationOutput for Described<R, D> {
    fn describe(operation: &mut Operation) {
        operation.docs::<D>();
        R::describe(operation);
    }
}

impl<R: fmt::Debug, D> fmt::Debug for Described<R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
