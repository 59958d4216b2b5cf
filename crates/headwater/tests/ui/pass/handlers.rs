//! Handlers under `#[operation]`, in all supported forms.

use futures_util::stream;
use headwater::{
    App, Event, Events, Json, OpenApi, Path, Problem, Query, State, StatusCode, Streaming, get,
    operation,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
struct Pace {
    /// Number of items.
    count: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Tick {
    number: u32,
}

#[derive(Serialize, JsonSchema, Events)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Update {
    Price { cents: u32 },
    MarketClosed,
}

#[derive(Clone)]
struct Numbers(u32);

trait Source: Clone + Send + Sync + 'static {
    fn first(&self) -> u32;
}

impl Source for Numbers {
    fn first(&self) -> u32 {
        self.0
    }
}

/// Ticks, as they come.
#[operation]
async fn ticks(
    Path(symbol): Path<String>,
    Query(Pace { count }): Query<Pace>,
    State(Numbers(first)): State<Numbers>,
) -> Result<Streaming<Tick>, Problem> {
    if symbol.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND));
    }
    Ok(Streaming::new(stream::iter(
        (first..first + count).map(|number| Tick { number }),
    )))
}

#[operation]
async fn updates() -> Streaming<Event<Update>> {
    Streaming::events(stream::iter([
        Update::Price { cents: 1 },
        Update::MarketClosed,
    ]))
}

#[operation]
async fn generic<S, const N: usize>(State(source): State<S>) -> Json<Vec<u32>>
where
    S: Source,
{
    Json(vec![source.first(); N])
}

#[operation]
#[expect(clippy::unused_async, reason = "a handler is async")]
pub async fn echo(mut body: Json<Tick>) -> Json<Tick> {
    body.0.number += 1;
    body
}

/// The macro's generated names must not resolve to names in this module.
mod names {
    use super::*;

    fn input() -> u32 {
        1
    }

    fn output() -> u32 {
        2
    }

    struct Documented(u32);

    fn argument_0() -> u32 {
        3
    }

    #[operation]
    pub(super) async fn handler(names: Query<Pace>) -> Json<u32> {
        let handler = names.0.count;
        Json(handler + input() + output() + Documented(4).0 + argument_0())
    }

    #[operation]
    pub(super) async fn shadowed(shadowed: Query<Pace>) -> Json<u32> {
        Json(shadowed.0.count)
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn a_handler_can_be_called_as_a_function() {
    let pace = || Query(Pace { count: 2 });
    let ticks = is_send(ticks(Path("a".to_owned()), pace(), State(Numbers(7))));
    assert!(ticks.await.into_inner().is_ok());
    let Json(numbers) = generic::<Numbers, 3>(State(Numbers(7))).await.into_inner();
    assert_eq!(numbers, [7, 7, 7]);
    let Json(tick) = echo(Json(Tick { number: 1 })).await.into_inner();
    assert_eq!(tick.number, 2);
    assert_eq!(names::handler(pace()).await.into_inner().0, 12);
    assert_eq!(names::shadowed(pace()).await.into_inner().0, 2);
}

#[test]
fn an_app_accepts_the_handlers() {
    let app: App = App::new("Ticks", "1.0.0")
        .route("/ticks/{symbol}", get(ticks))
        .route("/updates", get(updates))
        .route("/generic", get(generic::<Numbers, 3>))
        .route("/names", get(names::handler).post(echo))
        .with_state(Numbers(7));
    let document = app.openapi(OpenApi::V3_2);
    let operation = &document["paths"]["/ticks/{symbol}"]["get"];
    assert_eq!(operation["summary"], "Ticks, as they come.");
    assert_eq!(operation["operationId"], "ticks");
}
