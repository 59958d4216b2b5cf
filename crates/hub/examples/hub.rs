//! A hub in memory, for test suites of the protocol: `hub [ADDRESS] [ROOT]`.

use std::{sync::Arc, time::Duration};

use headwater_hub::{Hub, Options};
use headwater_log::{MemoryLog, MemoryOptions};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let root = arguments.next().unwrap_or_else(|| "/streams".to_owned());
    let options = Options::new().root(&root).long_poll(Duration::from_secs(2)).loopback_webhooks();
    let hub = Hub::with(Arc::new(MemoryLog::new(MemoryOptions::default())), options);
    headwater::serve(hub.app(), address)
        .on_bound(|address| eprintln!("listening on {address}"))
        .await
}
