use headwater::{Json, operation};

#[operation]
async fn read() -> Result<Json<String>, std::io::Error> {
    std::fs::read_to_string("a").map(Json)
}

fn main() {}
