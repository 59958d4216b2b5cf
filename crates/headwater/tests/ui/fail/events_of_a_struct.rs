use headwater::Events;

#[derive(Events)]
struct Update {
    price: f64,
}

fn main() {}
