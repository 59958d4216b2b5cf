use headwater::{Cookies, Headers, IntoResponse, Query, State, operation};

#[operation]
async fn text() -> impl IntoResponse {
    "text"
}

#[operation]
async fn fallible() -> Result<impl IntoResponse, headwater::Problem> {
    Ok("text")
}

#[operation]
async fn page(_: Option<Query<u32>>) {}

#[operation]
async fn headers(_: Option<Headers<u32>>, _: Option<Cookies<u32>>) {}

#[operation]
async fn state(_: Option<State<u32>>) {}

fn main() {}
