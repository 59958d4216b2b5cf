use headwater::{Json, operation};

#[derive(serde::Serialize)]
struct Tick {
    number: u32,
}

#[operation]
async fn tick() -> Json<Tick> {
    Json(Tick { number: 1 })
}

fn main() {}
