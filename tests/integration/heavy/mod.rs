//! Tests with a thousand or more connections, or hundreds of megabytes. They run one at a time
//! (`.config/nextest.toml`), so that they don't slow each other past their deadlines.

mod hub;
mod shutdown;
mod stalled;
