use futures_util::{Stream, stream};
use headwater::{App, Problem, Streaming, get, operation};
use schemars::JsonSchema;

#[derive(serde::Serialize, JsonSchema)]
struct Tick {
    number: u32,
}

#[operation]
async fn ticks() -> impl Stream<Item = Tick> {
    stream::iter([Tick { number: 1 }])
}

#[operation]
async fn failing() -> Streaming<Result<Tick, Problem>> {
    Streaming::new(stream::iter([Ok(Tick { number: 1 })]))
}

async fn plain() -> impl Stream<Item = Tick> {
    stream::iter([Tick { number: 1 }])
}

fn main() {
    let _: App = App::new("Ticks", "1.0.0").route("/plain", get(plain));
}
