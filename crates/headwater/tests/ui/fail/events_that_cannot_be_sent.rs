use headwater::Events;

#[derive(Events)]
enum Reserved {
    Price,
    #[serde(rename = "headwater:end")]
    End,
    #[serde(rename = "headwater:failed")]
    Failed,
}

#[derive(Events)]
enum Twice {
    Price,
    #[serde(rename = "Price")]
    Cost,
}

#[derive(Events)]
enum Lines {
    #[serde(rename = "a\nb")]
    Price,
    #[serde(rename = "")]
    Cost,
}

#[derive(Events)]
enum Empty {}

fn main() {}
