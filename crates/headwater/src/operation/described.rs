use std::{fmt, marker::PhantomData};

use axum::response::{IntoResponse, Response};

use super::{Operation, OperationOutput};

/// The contents of a handler's doc comment. [`#[operation]`](macro@crate::operation) implements it.
pub trait Docs {
    /// Name of the function.
    const NAME: &'static str;
    /// First paragraph of the doc comment.
    const SUMMARY: &'static str;
    /// The rest of the doc comment, as Markdown.
    const DESCRIPTION: &'static str;
}

/// A response whose type carries the docs of its handler.
///
/// Functions under [`#[operation]`](macro@crate::operation) return it, so that their doc comments
/// reach the document through types alone.
pub struct Described<R, D>(R, PhantomData<fn() -> D>);

impl<R, D> Described<R, D> {
    /// Attaches the docs to a response.
    pub const fn new(response: R) -> Self {
        Self(response, PhantomData)
    }

    /// Returns the function's original response, for tests that call the function.
    pub fn into_inner(self) -> R {
        self.0
    }
}

/// Requires that the output of a future describes itself. Code that [`#[operation]`](macro@crate::operation)
/// generates calls it for a return type that has no name.
#[doc(hidden)]
pub fn describes_its_output<F: Future<Output: OperationOutput>>(_: &F) {}

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
