use headwater::operation;

#[operation]
async fn count(_: impl Send) {}

#[operation]
async unsafe fn hurry() {}

#[operation(tag = "counts")]
async fn tagged() {}

fn main() {}
