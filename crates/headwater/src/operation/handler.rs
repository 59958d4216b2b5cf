use std::{marker::PhantomData, pin::Pin};

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    handler::Handler,
    response::{IntoResponse, Response},
};

use super::{
    Operation, OperationInput, OperationOutput,
    validate_output::{CheckOutgoing, Outgoing},
};
use crate::{extract::RequestFaults, per_type::per_type};

/// A function that handles an operation: async, with extractors as its arguments and a response
/// that documents itself.
///
/// It corresponds to axum's `Handler`, with two differences. Every type in the signature
/// contributes to the OpenAPI document. And all arguments are extracted before the request is
/// refused, so that the client receives all faults at once. A handler has at most 16 arguments, and
/// only the last may read the body.
///
/// If a function is not accepted as a handler, put [`#[operation]`](macro@crate::operation) on it:
/// the compiler then reports the reason.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the handler of an operation",
    note = "a handler is an async function; each argument is an extractor that describes itself (`OperationInput`), \
        the return type is a response that describes itself (`OperationOutput`), and only the last argument reads \
        the body",
    note = "a stream is returned as `Streaming<T>`, not as `impl Stream`",
    note = "if `#[headwater::operation]` isn't on the function, put it there: the compiler then reports the wrong type at \
        the function; fixing it there also fixes this error"
)]
pub trait OperationHandler<T, S>: Clone + Send + Sync + Sized + 'static {
    /// Describes the operation.
    #[doc(hidden)]
    fn describe(operation: &mut Operation);

    /// Handles a request.
    #[doc(hidden)]
    fn call(self, request: Request, state: S) -> impl Future<Output = Response> + Send;
}

impl<F, Fut, R, S> OperationHandler<((),), S> for F
where
    F: FnOnce() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = R> + Send,
    R: IntoResponse + OperationOutput,
    S: Send + Sync + 'static,
{
    fn describe(operation: &mut Operation) {
        R::describe(operation);
    }

    async fn call(self, _: Request, _: S) -> Response {
        self().await.into_response()
    }
}

macro_rules! handler {
    ([$($part:ident),*], $last:ident) => {
        #[allow(non_snake_case, unused_mut)]
        impl<F, Fut, R, S, M, $($part,)* $last> OperationHandler<(M, $($part,)* $last,), S> for F
        where
            F: FnOnce($($part,)* $last) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = R> + Send,
            R: IntoResponse + OperationOutput,
            S: Send + Sync + 'static,
            $($part: FromRequestParts<S> + OperationInput + Send,)*
            $last: FromRequest<S, M> + OperationInput + Send,
        {
            fn describe(operation: &mut Operation) {
                $($part::describe(operation);)*
                $last::describe(operation);
                R::describe(operation);
            }

            async fn call(self, request: Request, state: S) -> Response {
                let (mut parts, body) = request.into_parts();
                let mut faults = RequestFaults::default();
                $(
                    let extracted = $part::from_request_parts(&mut parts, &state).await;
                    let $part = match extracted.map_err(IntoResponse::into_response) {
                        Ok(extracted) => Some(extracted),
                        Err(response) => match faults.collect(response).await {
                            Ok(()) => None,
                            Err(refusal) => return *refusal,
                        },
                    };
                )*
                let request = Request::from_parts(parts, body);
                let extracted = $last::from_request(request, &state).await;
                let $last = match extracted.map_err(IntoResponse::into_response) {
                    Ok(extracted) => Some(extracted),
                    Err(response) => match faults.collect(response).await {
                        Ok(()) => None,
                        Err(refusal) => return *refusal,
                    },
                };
                match ($($part,)* $last,) {
                    ($(Some($part),)* Some($last),) => self($($part,)* $last).await.into_response(),
                    _ => faults.into_response(),
                }
            }
        }
    };
}

handler!([], T1);
handler!([T1], T2);
handler!([T1, T2], T3);
handler!([T1, T2, T3], T4);
handler!([T1, T2, T3, T4], T5);
handler!([T1, T2, T3, T4, T5], T6);
handler!([T1, T2, T3, T4, T5, T6], T7);
handler!([T1, T2, T3, T4, T5, T6, T7], T8);
handler!([T1, T2, T3, T4, T5, T6, T7, T8], T9);
handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9], T10);
handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10], T11);
handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11], T12);
handler!([T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12], T13);
handler!(
    [T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13],
    T14
);
handler!(
    [T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14],
    T15
);
handler!(
    [
        T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12, T13, T14, T15
    ],
    T16
);

/// An operation's handler as an axum handler.
pub(crate) struct Operated<H, T> {
    handler: H,
    _arguments: PhantomData<fn() -> T>,
}

impl<H, T> Operated<H, T> {
    pub(crate) fn new(handler: H) -> Self {
        Self {
            handler,
            _arguments: PhantomData,
        }
    }
}

impl<H: Clone, T> Clone for Operated<H, T> {
    fn clone(&self) -> Self {
        Self::new(self.handler.clone())
    }
}

impl<H, T, S> Handler<T, S> for Operated<H, T>
where
    H: OperationHandler<T, S>,
    T: 'static,
    S: Send + 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, state: S) -> Self::Future {
        if request.extensions().get::<CheckOutgoing>().is_some() {
            let outgoing = per_type::<H, Outgoing>(|| Outgoing::of(&Operation::of::<H, T, S>()));
            return Box::pin(outgoing.scope(self.handler.call(request, state)));
        }
        Box::pin(self.handler.call(request, state))
    }
}
