use headwater::{Json, operation};

#[operation]
async fn count(Json(_): Json<u32>, _: Option<String>) -> Json<u32> {
    Json(1)
}

#[operation]
async fn sum(Json(a): Json<u32>, Json(b): Json<u32>) -> Json<u32> {
    Json(a + b)
}

fn main() {}
