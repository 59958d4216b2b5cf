use headwater::{Json, operation};

#[derive(serde::Deserialize)]
struct Order {
    count: u32,
}

#[operation]
async fn order(Json(order): Json<Order>) -> Json<u32> {
    Json(order.count)
}

fn main() {}
