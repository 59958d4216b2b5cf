use headwater::operation;

#[operation]
struct Count;

fn main() {}
