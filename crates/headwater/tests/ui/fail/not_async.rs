use headwater::{Json, operation};

#[operation]
pub fn count() -> Json<u32> {
    Json(1)
}

fn main() {}
