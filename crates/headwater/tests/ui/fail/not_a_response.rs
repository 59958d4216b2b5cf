use headwater::operation;
use schemars::JsonSchema;

#[derive(serde::Serialize, JsonSchema)]
struct Tick {
    number: u32,
}

#[operation]
async fn tick() -> Tick {
    Tick { number: 1 }
}

fn main() {}
