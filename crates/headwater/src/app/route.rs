use std::fmt;

use axum::routing::{MethodFilter, MethodRouter};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::operation::{Operated, Operation, OperationHandler};

/// The operations of one path: a handler for each method.
///
/// Made by [`get`], [`post`] and so on. What a handler's types and doc comment don't say is added after it, and
/// is about the handler before it:
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
                /// There is one already.
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

    pub(crate) fn into_parts(self) -> (MethodRouter<S>, Vec<(&'static str, Operation)>) {
        (self.router, self.operations)
    }
}

impl<S> MethodRoute<S> {
    /// Changes the description of the operation before in any way.
    #[must_use]
    pub fn describe(mut self, describe: impl FnOnce(&mut Operation)) -> Self {
        if let Some((_, operation)) = self.operations.last_mut() {
            describe(operation);
        }
        self
    }

    /// Sets the operation's id, which must be the only one of that name in the app. Default: the function's name.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        self.describe(|operation| operation.id = Some(id.into()))
    }

    /// Sets the summary: a line of text. Default: the first paragraph of the handler's doc comment.
    #[must_use]
    pub fn summary(self, summary: impl Into<String>) -> Self {
        self.describe(|operation| operation.summary = Some(summary.into()))
    }

    /// Sets the description, in Markdown. Default: the rest of the handler's doc comment.
    #[must_use]
    pub fn description(self, description: impl Into<String>) -> Self {
        self.describe(|operation| operation.description = Some(description.into()))
    }

    /// Puts the operation under a tag, in addition to those it has.
    #[must_use]
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.describe(|operation| operation.tags.push(tag.into()))
    }

    /// Says that clients should stop using the operation.
    #[must_use]
    pub fn deprecated(self) -> Self {
        self.describe(|operation| operation.deprecated = true)
    }

    /// Keeps the operation out of the document.
    #[must_use]
    pub fn hidden(self) -> Self {
        self.describe(|operation| operation.hidden = true)
    }

    /// Says that the caller must satisfy this security scheme of the app's. If it is called again, any one of the
    /// schemes is enough.
    #[must_use]
    pub fn security(self, scheme: &str) -> Self {
        self.describe(|operation| operation.security(scheme))
    }

    /// Says that no security scheme is needed, where the app wants one of all operations.
    #[must_use]
    pub fn public(self) -> Self {
        self.describe(|operation| operation.security = Some(Vec::new()))
    }

    /// Adds an example of the request's body. What can't be written as JSON is left out.
    #[must_use]
    pub fn example(self, body: impl Serialize) -> Self {
        self.describe(|operation| {
            if let (Some(request), Ok(example)) = (&mut operation.body, serde_json::to_value(body))
            {
                request.examples.push(example);
            }
        })
    }

    /// Adds a reply that the handler's types don't show: a `T` as JSON, with this status.
    #[must_use]
    pub fn reply<T: JsonSchema>(self, status: StatusCode, description: &str) -> Self {
        self.describe(|operation| operation.reply::<T>(status, description))
    }

    /// Adds an error that the handler's types don't show: a [`Problem`](crate::Problem) of this status.
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
