//! Fifty stand-ins for shops. Each takes some time for a price. Some are busy at first, some don't
//! have the item, one is broken, one never answers, and one lies. They count their calls, to show
//! that each is called only once.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header::RETRY_AFTER},
};
use headwater::{App, Json, Path, Problem, Query, StatusCode, get};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Number of shops. They are numbered from 0.
pub(crate) const SHOPS: usize = 50;

/// Returns a shop's name.
pub(crate) fn name(shop: usize) -> String {
    const FIRST: [&str; 10] = [
        "Brook", "Creek", "Rill", "Ford", "Weir", "Delta", "Spring", "Mill", "Otter", "Heron",
    ];
    const LAST: [&str; 5] = ["Trading", "& Daughters", "Market", "Outlet", "Direct"];
    format!("{} {}", FIRST[shop % 10], LAST[shop / 10 % 5])
}

/// A shop's behaviour.
enum Manner {
    Sells,
    /// Refuses every other call at once, with a retry time of one second.
    Busy,
    SoldOut,
    Broken,
    /// Never answers.
    Hangs,
    /// Responds with a price that is not a number.
    Lies,
}

fn manner(shop: usize) -> Manner {
    match shop {
        3 | 17 | 28 => Manner::Busy,
        9 | 36 => Manner::SoldOut,
        22 => Manner::Broken,
        41 => Manner::Hangs,
        14 => Manner::Lies,
        _ => Manner::Sells,
    }
}

pub(crate) fn app() -> App {
    App::new("Fifty shops", env!("CARGO_PKG_VERSION"))
        .description("Stand-ins for shops: slow, busy, broken, and one that lies.")
        .route("/shops/{shop}/price", get(price))
        .route("/calls", get(calls))
        .with_state(Arc::<Shops>::default())
}

#[derive(Default)]
struct Shops {
    /// Number of calls by shop.
    calls: Mutex<BTreeMap<usize, u64>>,
}

/// Numbers of calls of the shops.
#[derive(Serialize, JsonSchema)]
struct Calls {
    /// Total number of calls.
    total: u64,
    /// Number of calls by shop number.
    shops: BTreeMap<usize, u64>,
}

/// Returns the numbers of calls of the shops.
#[headwater::operation]
async fn calls(State(shops): State<Arc<Shops>>) -> Json<Calls> {
    let shops = shops.calls.lock().clone();
    Json(Calls {
        total: shops.values().sum(),
        shops,
    })
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// The requested item.
    #[schemars(length(min = 1, max = 200))]
    item: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Number(#[schemars(range(max = 49))] usize);

/// Returns a shop's price for an item.
#[headwater::operation]
async fn price(
    State(shops): State<Arc<Shops>>,
    Path(Number(shop)): Path<Number>,
    Query(Wanted { item }): Query<Wanted>,
) -> Result<Json<Value>, (HeaderMap, Problem)> {
    let nth = {
        let mut calls = shops.calls.lock();
        let calls = calls.entry(shop).or_default();
        *calls += 1;
        *calls
    };
    let (took, cents) = terms(shop, &item);
    if matches!(manner(shop), Manner::Busy) && nth % 2 == 1 {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS).detail("come back in a second");
        let later = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("1"))]);
        return Err((later, problem));
    }
    sleep(took).await;
    let refuse = |status, detail: &str| {
        let problem = Problem::new(status).detail(detail);
        Err((HeaderMap::new(), problem))
    };
    match manner(shop) {
        Manner::Sells | Manner::Busy => Ok(Json(json!({"cents": cents}))),
        Manner::SoldOut => refuse(StatusCode::NOT_FOUND, "sold out"),
        Manner::Broken => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the till is on fire"),
        Manner::Hangs => std::future::pending().await,
        Manner::Lies => Ok(Json(json!({"cents": "a steal"}))),
    }
}

/// Returns a shop's delay for an item, 0.2 to 4 s, and its price. Both are always the same.
pub(crate) fn terms(shop: usize, item: &str) -> (Duration, u64) {
    let hash = |of: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        of(&mut hasher);
        hasher.finish()
    };
    let item = item.trim().to_lowercase();
    let usual = 500 + hash(&|hasher| item.hash(hasher)) % 15_000;
    let own = hash(&|hasher| (&item, shop).hash(hasher));
    let cents = usual * (80 + own % 60) / 100;
    (Duration::from_millis(200 + own / 64 % 3800), cents)
}
