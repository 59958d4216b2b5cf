use headwater::{Json, Path, operation};

#[operation]
async fn rename(Json(_): Json<String>, Path(_): Path<u32>) {}

fn main() {}
