//! The hub over the durable log, both with their defaults: an append is acknowledged when it is on
//! the disk.

use std::{path::Path, sync::Arc};

use headwater::BoundAddress;
use headwater_bench::Error;
use headwater_hub::Hub;
use headwater_log::{FjallLog, FjallOptions};

pub(crate) fn run(folder: &Path, listen: &str) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let log = FjallLog::open(folder, FjallOptions::default())?;
        let listening = |address: &BoundAddress| {
            if let BoundAddress::Tcp(address) = address {
                crate::announce(*address);
            }
        };
        Ok(headwater::serve(Hub::new(Arc::new(log)).app(), listen)
            .on_bound(listening)
            .await?)
    })
}
