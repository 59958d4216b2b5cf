use headwater::{Json, Query, operation};

#[derive(serde::Deserialize)]
struct Pace {
    count: u32,
}

#[operation]
async fn count(Query(pace): Query<Pace>) -> Json<u32> {
    Json(pace.count)
}

fn main() {}
