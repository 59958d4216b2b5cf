use headwater::{Problem, Streaming, operation};

#[derive(serde::Serialize)]
struct Tick {
    number: u32,
}

#[operation]
async fn ticks() -> Result<Streaming<Tick>, Problem> {
    Ok(Streaming::new(futures_util::stream::iter([Tick {
        number: 1,
    }])))
}

fn main() {}
