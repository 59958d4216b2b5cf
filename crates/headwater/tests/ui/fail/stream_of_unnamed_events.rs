use headwater::{Event, Streaming, operation};
use schemars::JsonSchema;

#[derive(serde::Serialize, JsonSchema)]
#[serde(tag = "type")]
enum Update {
    Price,
}

#[operation]
async fn updates() -> Streaming<Event<Update>> {
    todo!()
}

fn main() {}
