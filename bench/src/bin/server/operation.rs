//! The same two routes as operations of a Headwater app and as axum routes.

use axum::Router;
use headwater::App;
use headwater_bench::{
    Error,
    order::{Ask, Order, Quote, Receipt},
};

use crate::headwater_peer::serve;

/// Serves the operations, which are documented and validated.
pub(crate) fn run() -> Result<(), Error> {
    use headwater::{Json, Path, Query, get, post};

    async fn quote(Path(symbol): Path<String>, Query(ask): Query<Ask>) -> Json<Quote> {
        Json(Quote::of(symbol, ask))
    }

    async fn place(Json(order): Json<Order>) -> Json<Receipt> {
        Json(Receipt::of(order))
    }

    let app = App::new("Orders", "1.0.0")
        .route("/quotes/{symbol}", get(quote))
        .route("/orders", post(place));
    serve(|| app.into_router())
}

/// Serves axum's routes under Headwater's server.
pub(crate) fn run_plain() -> Result<(), Error> {
    serve(plain)
}

/// Returns routes with axum's extractors, which deserialise and check no constraints.
pub(crate) fn plain<S: Clone + Send + Sync + 'static>() -> Router<S> {
    use axum::{
        Json,
        extract::{Path, Query},
        routing::{get, post},
    };

    async fn quote(Path(symbol): Path<String>, Query(ask): Query<Ask>) -> Json<Quote> {
        Json(Quote::of(symbol, ask))
    }

    async fn place(Json(order): Json<Order>) -> Json<Receipt> {
        Json(Receipt::of(order))
    }

    Router::new()
        .route("/quotes/{symbol}", get(quote))
        .route("/orders", post(place))
}
