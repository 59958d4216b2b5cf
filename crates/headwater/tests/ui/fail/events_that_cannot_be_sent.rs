use headwater::Events;

#[derive(Events)]
#[serde(rename_all = "snake_case")]
enum Reserved {
    Price,
    End,
    #[serde(rename = "error")]
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
