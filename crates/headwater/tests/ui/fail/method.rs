use headwater::{Json, operation};

struct Counter;

impl Counter {
    #[operation]
    async fn count(&self) -> Json<u32> {
        Json(1)
    }

    #[operation]
    async fn made() -> Json<Self> {
        todo!()
    }
}

fn main() {}
