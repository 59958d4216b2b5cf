use headwater::{App, Json, get};
use schemars::JsonSchema;

#[derive(serde::Deserialize, JsonSchema)]
struct Pace {
    count: u32,
}

async fn count(pace: Pace) -> Json<u32> {
    Json(pace.count)
}

fn sync() -> Json<u32> {
    Json(1)
}

fn main() {
    let _: App = App::new("Counts", "1.0.0")
        .route("/count", get(count))
        .route("/sync", get(sync));
}
