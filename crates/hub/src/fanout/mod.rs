//! Delivery of new messages to live readers: encoded once, shared by all who read the same form.

pub(crate) mod all;
mod near;
pub(crate) mod send_budget;
pub(crate) mod stream;
pub(crate) mod wake_queue;

use headwater_log::{Error, Info, Log, StreamName};

/// Returns a description of a stream for its readers. While the log isn't available, that is the one at hand,
/// which can be out of date, as they get the messages at hand.
pub(crate) async fn described(log: &dyn Log, name: &StreamName) -> Result<Info, Error> {
    match log.info(name).await {
        Err(error) if error.is_unavailable() => log.known(name).ok_or(error),
        described => described,
    }
}
