//! A hub for test suites of the Durable Streams protocol. Usage: `hub [ADDRESS [ROOT [FOLDER]]]`.
//! Without a folder, the log is in memory.

use std::{error::Error, sync::Arc, time::Duration};

use headwater_hub::{Hub, Options};
use headwater_log::{DiskLog, DiskOptions, Log, MemoryLog};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let root = arguments.next().unwrap_or_else(|| "/streams".to_owned());
    let log: Arc<dyn Log> = match arguments.next() {
        Some(folder) => Arc::new(DiskLog::open(folder, DiskOptions::default())?),
        None => Arc::new(MemoryLog::default()),
    };
    let options = Options::new()
        .root(&root)
        .long_poll(Duration::from_secs(2))
        .loopback_webhooks();
    let hub = Hub::with_options(Arc::clone(&log), options);
    hub.start();
    headwater::serve(hub.app(), address)
        .on_bound(|address| eprintln!("listening on {address}"))
        .await?;
    log.close().await?;
    Ok(())
}
