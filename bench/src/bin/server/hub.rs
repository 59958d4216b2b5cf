//! The hub with the durable log, both with their defaults: an append is acknowledged when it is
//! synced to disk. If the folder is `memory`, the log is in memory.

use std::{path::Path, sync::Arc};

use headwater::BoundAddress;
use headwater_bench::Error;
use headwater_client::Egress;
use headwater_hub::{Hub, Options};
use headwater_log::{DiskLog, DiskOptions, Log, MemoryLog, MemoryOptions};

pub(crate) fn run(folder: &Path, listen: &str, upstreams: &[String]) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let log: Arc<dyn Log> = match folder.to_str() {
            Some("memory") => Arc::new(MemoryLog::new(MemoryOptions::default())),
            _ => Arc::new(DiskLog::open(folder, DiskOptions::default())?),
        };
        let options = Options::new().upstreams(Egress::allow(upstreams)?);
        let listening = |address: &BoundAddress| {
            if let BoundAddress::Tcp(address) = address {
                crate::announce(*address);
            }
        };
        let hub = Hub::with_options(log, options);
        hub.start();
        Ok(headwater::serve(hub.app(), listen)
            .quiet()
            .on_bound(listening)
            .await?)
    })
}
