//! Tests with a thousand connections or hundreds of megabytes. They run one at a time
//! (`.config/nextest.toml`), so that their deadlines measure the server and not each other.

mod hub;
mod shutdown;
mod stalled;
