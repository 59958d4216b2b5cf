use std::{convert::Infallible, fmt, future::ready};

use axum::{
    extract::Request,
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, Route},
};
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use tower_layer::Layer;
use tower_service::Service;

use crate::operation::{Operated, Operation, OperationHandler};

/// The operations of one path: a handler for each method.
///
/// Created by [`get`], [`post`] and so on. The methods after a handler add to that handler's
/// description what its types and doc comment don't contain:
///
/// ```
/// use headwater::{Json, StatusCode, get};
///
/// async fn list() -> Json<Vec<u32>> {
///     Json(vec![1, 2])
/// }
///
/// async fn add() -> StatusCode {
///     StatusCode::CREATED
/// }
///
/// let route = get(list)
///     .tag("numbers")
///     .post(add)
///     .tag("numbers")
///     .error(StatusCode::CONFLICT, "It is there already");
/// # let _: headwater::MethodRoute = route;
/// ```
pub struct MethodRoute<S = ()> {
    router: MethodRouter<S>,
    operations: Vec<(&'static str, Operation)>,
}

macro_rules! methods {
    ($($method:ident $filter:ident),*) => {
        $(
            #[doc = concat!("A route that handles ", stringify!($filter), ".")]
            pub fn $method<H, T, S>(handler: H) -> MethodRoute<S>
            where
                H: OperationHandler<T, S>,
                T: 'static,
                S: Clone + Send + Sync + 'static,
            {
                MethodRoute::new().$method(handler)
            }
        )*

        impl<S: Clone + Send + Sync + 'static> MethodRoute<S> {
            $(
                #[doc = concat!("Adds the handler of ", stringify!($filter), ".")]
                ///
                /// # Panics
                /// The route already has a handler for this method.
                #[must_use]
                pub fn $method<H, T>(self, handler: H) -> Self
                where
                    H: OperationHandler<T, S>,
                    T: 'static,
                {
                    self.on_method(MethodFilter::$filter, stringify!($method), handler)
                }
            )*
        }
    };
}

methods!(get GET, post POST, put PUT, patch PATCH, delete DELETE, head HEAD);

impl<S: Clone + Send + Sync + 'static> MethodRoute<S> {
    fn new() -> Self {
        Self {
            router: MethodRouter::new(),
            operations: Vec::new(),
        }
    }

    fn on_method<H, T>(mut self, filter: MethodFilter, method: &'static str, handler: H) -> Self
    where
        H: OperationHandler<T, S>,
        T: 'static,
    {
        self.operations.push((method, Operation::of::<H, T, S>()));
        self.router = self.router.on(filter, Operated::new(handler));
        self
    }

    /// Adds the operations of another route.
    ///
    /// # Panics
    /// Both have a handler for the same method.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        self.router = self.router.merge(other.router);
        self
    }

    /// Wraps the handlers that were added so far in a tower layer. Requests with another method don't
    /// pass through it.
    #[must_use]
    pub fn route_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.router = self.router.route_layer(layer);
        self
    }

    pub(crate) fn into_parts(self) -> (MethodRouter<S>, Vec<(&'static str, Operation)>) {
        let Self { router, operations } = self;
        let has = |name| operations.iter().any(|(method, _)| *method == name);
        if !(has("get") && has("head")) {
            return (router, operations);
        }
        // axum counts HEAD with GET, and a second time if its handler is of a merged route.
        let methods: Vec<_> = operations.iter().map(|(method, _)| *method).collect();
        let allowed = [(header::ALLOW, methods.join(",").to_ascii_uppercase())];
        let refuse = move || ready((StatusCode::METHOD_NOT_ALLOWED, allowed.clone()));
        (router.fallback(refuse), operations)
    }
}

impl<S> MethodRoute<S> {
    /// Edits the description of the preceding operation.
    #[must_use]
    pub fn describe(mut self, describe: impl FnOnce(&mut Operation)) -> Self {
        if let Some((_, operation)) = self.operations.last_mut() {
            describe(operation);
        }
        self
    }

    /// Edits the description of each operation that was added so far.
    #[must_use]
    pub fn describe_all(mut self, describe: impl Fn(&mut Operation)) -> Self {
        for (_, operation) in &mut self.operations {
            describe(operation);
        }
        self
    }

    /// Sets the operation's id, which must be unique in the app. Default: the function's name.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        self.describe(|operation| operation.id = Some(id.into()))
    }

    /// Sets the summary, a line of text. Default: the first paragraph of the handler's doc comment.
    #[must_use]
    pub fn summary(self, summary: impl Into<String>) -> Self {
        self.describe(|operation| operation.summary = Some(summary.into()))
    }

    /// Sets the description, in Markdown. Default: the rest of the handler's doc comment.
    #[must_use]
    pub fn description(self, description: impl Into<String>) -> Self {
        self.describe(|operation| operation.description = Some(description.into()))
    }

    /// Adds a tag to the operation.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.describe(|operation| operation.tags.push(tag.into()))
    }

    /// Marks the operation as deprecated.
    #[must_use]
    pub fn deprecated(self) -> Self {
        self.describe(|operation| operation.deprecated = true)
    }

    /// Keeps the operation out of the document.
    #[must_use]
    pub fn hidden(self) -> Self {
        self.describe(|operation| operation.hidden = true)
    }

    /// Requires this security scheme, which the app describes. After several calls, any one of the
    /// schemes is enough.
    #[must_use]
    pub fn security(self, scheme: &str) -> Self {
        self.describe(|operation| operation.security(scheme))
    }

    /// Exempts the operation from the security schemes that the app requires for all operations.
    #[must_use]
    pub fn public(self) -> Self {
        self.describe(|operation| operation.security = Some(Vec::new()))
    }

    /// Adds an example of the request's body. A value that can't be serialised as JSON is ignored.
    #[must_use]
    pub fn example(self, body: impl Serialize) -> Self {
        self.describe(|operation| {
            if let (Some(request), Ok(example)) = (&mut operation.body, serde_json::to_value(body))
            {
                request.examples.push(example);
            }
        })
    }

    /// Documents a reply that the handler's types don't show: a `T` as JSON, with this status.
    #[must_use]
    pub fn reply<T: JsonSchema>(self, status: StatusCode, description: &str) -> Self {
        self.describe(|operation| operation.reply::<T>(status, description))
    }

    /// Documents an error that the handler's types don't show: a [`Problem`](crate::Problem) with
    /// this status.
    #[must_use]
    pub fn error(self, status: StatusCode, description: &str) -> Self {
        self.describe(|operation| operation.error(status, description))
    }
}

impl<S> Clone for MethodRoute<S> {
    fn clone(&self) -> Self {
        Self {
            router: self.router.clone(),
            operations: self.operations.clone(),
        }
    }
}

impl<S> fmt::Debug for MethodRoute<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodRoute")
            .field("operations", &self.operations)
            .finish_non_exhaustive()
    }
}
