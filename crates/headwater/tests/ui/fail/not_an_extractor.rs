use headwater::{Json, Query, operation};
use schemars::JsonSchema;

#[derive(serde::Deserialize, JsonSchema)]
struct Pace {
    count: u32,
}

#[operation]
async fn count(Query(_): Query<Pace>, pace: Pace) -> Json<u32> {
    Json(pace.count)
}

fn main() {}
