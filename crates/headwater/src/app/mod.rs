//! Apps: routes that document themselves.

mod route;

use std::{fmt, sync::Arc};

use axum::{
    Extension, Router, extract::Request, response::IntoResponse, routing::Route as AxumRoute,
};
use serde_json::Value;
use tower_layer::Layer;
use tower_service::Service;

pub use self::route::{MethodRoute, delete, get, head, patch, post, put};
use crate::{
    negotiate::AppKind,
    openapi::{self, OpenApi, SecurityScheme},
    operation::{CheckOutgoing, Operation},
};

/// An app whose routes document themselves, with an OpenAPI document and a docs page that plays
/// their streams.
///
/// It is a builder around axum's [`Router`]: it adds routes in the same way, and
/// [`into_router`](Self::into_router) returns the router.
///
/// ```
/// use futures_util::stream;
/// use headwater::{App, Path, Query, Streaming, get};
/// use schemars::JsonSchema;
///
/// #[derive(serde::Deserialize, JsonSchema)]
/// struct Pace {
///     /// How many items.
///     /// Number of items.
///     count: u64,
/// }
///
/// #[derive(serde::Serialize, JsonSchema)]
/// struct Price {
///     symbol: String,
///     price: f64,
/// }
///
/// /// Streams prices as they change.
/// #[headwater::operation]
/// async fn prices(Path(symbol): Path<String>, Query(pace): Query<Pace>) -> Streaming<Price> {
///     Streaming::new(stream::iter((0..pace.count).map(move |n| Price {
///         symbol: symbol.clone(),
///         price: 100.0 + n as f64,
///     })))
/// }
///
/// let app: App = App::new("Prices", "1.0.0").route("/prices/{symbol}", get(prices));
/// ```
///
/// [`serve`](crate::serve) and the [test client](crate::test) accept it directly.
///
/// # Built-in routes
/// - `GET /openapi.json`: the document, as OpenAPI 3.2. `?version=3.1` is for tools that don't
///   support 3.2.
/// - `GET /docs`: the reference. `/docs/play` is the page that plays streams. Both are served from
///   the binary; the browser contacts no other host. They are the crate's feature `docs`.
///
/// [`without_docs`](Self::without_docs) turns these off.
pub struct App<S = ()> {
    /// Each of its routes is in a [`layer`](crate::layer), inside of all layers of the app.
    router: Router<S>,
    /// The layers, for the responses that are the app's own: the built-in routes, and the 404 for an unknown path.
    layers: Vec<LayerFn>,
    api: Api,
    docs: bool,
    check_outgoing: bool,
}

/// Wraps the routes of a router in a layer.
type LayerFn = Arc<dyn Fn(Router) -> Router + Send + Sync>;

/// The content of the document except the schemas, which it derives itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Api {
    pub(crate) title: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    pub(crate) license: Option<(String, String)>,
    pub(crate) servers: Vec<String>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) security_schemes: Vec<(String, SecurityScheme)>,
    pub(crate) security: Vec<String>,
    pub(crate) operations: Vec<Entry>,
}

/// An operation with its path and method.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// In lower case, as in the document.
    pub(crate) method: &'static str,
    pub(crate) operation: Operation,
}

impl<S: Clone + Send + Sync + 'static> App<S> {
    /// Creates an app without routes. `version` is the version of the API, such as `1.0.0`.
    pub fn new(title: impl Into<String>, version: impl Into<String>) -> Self {
        let mut app = Self::from(Router::new());
        app.api.title = title.into();
        app.api.version = version.into();
        app
    }

    /// Sets the description, in Markdown.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.api.description = Some(description.into());
        self
    }

    /// Sets the licence of the API: its name and its SPDX identifier, such as `Apache-2.0`.
    #[must_use]
    pub fn license(mut self, name: impl Into<String>, identifier: impl Into<String>) -> Self {
        self.api.license = Some((name.into(), identifier.into()));
        self
    }

    /// Adds a base URL at which clients reach the app, such as `https://api.example.com`. Without
    /// one, it is the root of the host that serves the document.
    #[must_use]
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.api.servers.push(url.into());
        self
    }

    /// Describes a tag. Tags group operations in the reference, in the order of these calls.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, description: impl Into<String>) -> Self {
        self.api.tags.push((name.into(), description.into()));
        self
    }

    /// Describes how callers authenticate. The handlers' extractors check it.
    #[must_use]
    pub fn security_scheme(mut self, name: impl Into<String>, scheme: SecurityScheme) -> Self {
        self.api.security_schemes.push((name.into(), scheme));
        self
    }

    /// Requires this security scheme for all operations that don't set their own. After several
    /// calls, any one of the schemes is enough.
    #[must_use]
    pub fn security(mut self, scheme: impl Into<String>) -> Self {
        self.api.security.push(scheme.into());
        self
    }

    /// Adds the operations of a path, with axum's syntax: `/prices/{symbol}`.
    ///
    /// # Panics
    /// As axum's [`Router::route`]: the path is invalid or already in use.
    #[must_use]
    pub fn route(mut self, path: &str, route: MethodRoute<S>) -> Self {
        let (router, operations) = route.into_parts();
        self.router = self.router.route(path, router.layer(crate::layer()));
        for (_, operation) in &operations {
            self.api.take_schemes(operation.security_schemes.clone());
        }
        let entries = operations.into_iter().map(|(method, operation)| Entry {
            path: path.to_owned(),
            method,
            operation,
        });
        self.api.operations.extend(entries);
        self
    }

    /// Adds all routes of another app, with its tags and security schemes, or of an axum
    /// [`Router`], whose routes are undocumented. This app keeps its title, version and
    /// description.
    ///
    /// # Panics
    /// As axum's [`Router::merge`]: both contain the same path.
    #[must_use]
    pub fn merge(mut self, other: impl Into<App<S>>) -> Self {
        let other = other.into();
        self.router = self.router.merge(other.router);
        self.check_outgoing |= other.check_outgoing;
        self.api.take(other.api, |path| path);
        self
    }

    /// Adds all routes of another app, or of an axum [`Router`], under a prefix.
    ///
    /// # Panics
    /// As axum's [`Router::nest`]: the prefix is invalid.
    #[must_use]
    pub fn nest(mut self, prefix: &str, other: impl Into<App<S>>) -> Self {
        let other = other.into();
        self.router = self.router.nest(prefix, other.router);
        self.check_outgoing |= other.check_outgoing;
        let prefix = prefix.trim_end_matches('/');
        self.api.take(other.api, |path| match path.as_str() {
            "/" => prefix.to_owned(),
            path => format!("{prefix}{path}"),
        });
        self
    }

    /// Edits the description of each operation that was added so far, by its method, in lower case, and its path. It
    /// is for what a [`layer`](Self::layer) adds to the operations:
    ///
    /// ```
    /// use headwater::{App, StatusCode, get};
    ///
    /// let app: App = App::new("Prices", "1.0.0")
    ///     .route("/prices", get(async || "1"))
    ///     .describe_all(|method, path, operation| {
    ///         if method == "get" && path.starts_with("/prices") {
    ///             operation.error(StatusCode::BAD_GATEWAY, "The exchange can't be reached");
    ///         }
    ///     });
    /// ```
    #[must_use]
    pub fn describe_all(mut self, mut describe: impl FnMut(&str, &str, &mut Operation)) -> Self {
        for entry in &mut self.api.operations {
            describe(entry.method, &entry.path, &mut entry.operation);
        }
        self
    }

    /// Wraps all routes added so far in a tower layer, and the app's own responses: the docs, and the 404 for an
    /// unknown path. A layer that requires credentials therefore requires them for the docs too.
    ///
    /// The layer sees every response of these, including 405, the refusal of an invalid request, and the problem for
    /// a handler that panics. It doesn't see the responses that the server sends without calling the app: to a
    /// request that can't be parsed, or whose `Host` is invalid or not one that the app serves.
    ///
    /// If this app is added to another one, its layers stay around its routes. The docs and the 404 are those of the
    /// other one.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<AxumRoute> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<std::convert::Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.router = self.router.layer(layer.clone());
        let layer = move |router: Router| router.layer(layer.clone());
        self.layers.push(Arc::new(layer));
        self
    }

    /// Provides the handlers' state.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use headwater::{App, Json, State, get};
    ///
    /// type Names = Arc<Mutex<Vec<String>>>;
    ///
    /// async fn names(State(names): State<Names>) -> Json<Vec<String>> {
    ///     Json(names.lock().unwrap().clone())
    /// }
    ///
    /// let app: App = App::new("Names", "1.0.0")
    ///     .route("/names", get(names))
    ///     .with_state(Names::default());
    /// ```
    #[must_use]
    pub fn with_state<S2>(self, state: S) -> App<S2> {
        App {
            router: self.router.with_state(state),
            layers: self.layers,
            api: self.api,
            docs: self.docs,
            check_outgoing: self.check_outgoing,
        }
    }

    /// Turns off `/openapi.json` and `/docs`.
    #[must_use]
    pub fn without_docs(mut self) -> Self {
        self.docs = false;
        self
    }

    /// Sets whether outgoing values are also checked against their schema. An item or a
    /// [`Json`](crate::Json) that doesn't match the document then fails its response, and all its
    /// faults are logged. Default: `false`.
    ///
    /// The check costs more than the rest of the work on an item. Pass `cfg!(debug_assertions)` to
    /// check in debug builds only.
    #[must_use]
    pub fn check_outgoing(mut self, check: bool) -> Self {
        self.check_outgoing = check;
        self
    }

    /// Returns the OpenAPI document. It is deterministic: the same app always returns the same
    /// bytes.
    ///
    /// # Panics
    /// The types of a handler don't fit its route: a [`Path`](crate::Path) requires a name that the
    /// route doesn't have, the type of a [`Query`](crate::Query) is not a struct or has a field that no
    /// parameter can express, or an operation requires a security scheme that isn't described. The
    /// message says which.
    #[must_use]
    pub fn openapi(&self, version: OpenApi) -> Value {
        openapi::render(&self.api, version)
    }

    /// Returns axum's router, including the routes of the docs.
    ///
    /// # Panics
    /// As [`openapi`](Self::openapi).
    pub fn into_router(self) -> Router<S> {
        // Rendered even without docs, so that mistakes in an app show at startup.
        let documents = openapi::Documents::of(&self.api);
        let mut own = Router::new();
        if self.docs {
            own = own.merge(openapi::route(Arc::new(documents)));
            #[cfg(feature = "docs")]
            {
                let document = openapi::render(&self.api, OpenApi::V3_2);
                own = own.merge(crate::docs::routes(document));
            }
        }
        own = own.layer(crate::layer());
        for layer in &self.layers {
            own = layer(own);
        }
        // Of two default fallbacks, axum keeps that of the merged router.
        let mut router = self.router.merge(own.with_state(()));
        if self.check_outgoing {
            router = router.layer(Extension(CheckOutgoing));
        }
        router
    }
}

/// Returns the properties of `app`, which is an [`App`] or a router.
pub(crate) fn kind_of(app: &dyn std::any::Any) -> AppKind {
    let app = app.downcast_ref::<App>();
    AppKind {
        has_docs: cfg!(feature = "docs") && app.is_some_and(|app| app.docs),
        refuses_inside: app.is_some(),
    }
}

impl Api {
    /// Adds the security schemes that aren't described yet.
    fn take_schemes(&mut self, schemes: Vec<(String, SecurityScheme)>) {
        for (name, scheme) in schemes {
            if !self
                .security_schemes
                .iter()
                .any(|(known, _)| *known == name)
            {
                self.security_schemes.push((name, scheme));
            }
        }
    }

    fn take(&mut self, other: Self, path: impl Fn(String) -> String) {
        let known =
            |known: &[(String, _)], name: &str| known.iter().any(|(known, _)| known == name);
        for (name, description) in other.tags {
            if !known(&self.tags, &name) {
                self.tags.push((name, description));
            }
        }
        self.take_schemes(other.security_schemes);
        let security = other.security;
        let entries = other.operations.into_iter().map(|mut entry| {
            entry.path = path(entry.path);
            // The other app's default security keeps applying to its operations.
            if entry.operation.security.is_none() && !security.is_empty() {
                entry.operation.security = Some(security.clone());
            }
            entry
        });
        self.operations.extend(entries);
    }
}

impl<S: Clone + Send + Sync + 'static> From<Router<S>> for App<S> {
    fn from(router: Router<S>) -> Self {
        Self {
            router: router.layer(crate::layer()),
            layers: Vec::new(),
            api: Api::default(),
            docs: true,
            check_outgoing: false,
        }
    }
}

impl<S: Clone + Send + Sync + 'static> From<App<S>> for Router<S> {
    fn from(app: App<S>) -> Self {
        app.into_router()
    }
}

impl<S> Clone for App<S> {
    fn clone(&self) -> Self {
        Self {
            router: self.router.clone(),
            layers: self.layers.clone(),
            api: self.api.clone(),
            docs: self.docs,
            check_outgoing: self.check_outgoing,
        }
    }
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("title", &self.api.title)
            .field("operations", &self.api.operations.len())
            .finish_non_exhaustive()
    }
}
