use futures_util::stream;
use headwater::{Streaming, operation};
use schemars::JsonSchema;

#[derive(serde::Serialize, JsonSchema)]
struct Tick {
    number: u32,
}

struct Torn;

#[operation]
async fn ticks() -> Streaming<Tick> {
    Streaming::new(stream::iter([Ok(Tick { number: 1 }), Err(Torn)]))
}

fn main() {}
