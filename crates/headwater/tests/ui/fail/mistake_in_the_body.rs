use headwater::{Json, operation};

#[operation]
async fn count(Json(name): Json<String>) -> Json<u32> {
    let unused = 1;
    Json(name)
}

#[operation]
async fn unknown(tick: Json<Tock>) -> Json<u32> {
    Json(1)
}

fn main() {}
