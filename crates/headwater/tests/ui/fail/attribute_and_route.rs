use headwater::{App, get, operation};
use schemars::JsonSchema;

#[derive(serde::Serialize, JsonSchema)]
struct Tick {
    number: u32,
}

#[operation]
async fn tick() -> Tick {
    Tick { number: 1 }
}

fn main() {
    let _: App = App::new("Ticks", "1.0.0").route("/tick", get(tick));
}
