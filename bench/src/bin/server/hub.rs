//! The hub with the durable log, both with their defaults: an append is acknowledged when it is
//! synced to disk. If the folder is `memory`, the log is in memory; if it is `nats://HOST,HOST,HOST`, on that
//! cluster, whose servers sync what they acknowledge. With a folder of a certificate, it also
//! listens with TLS.
//!
//! With `snapshots`, a hub on a cluster stores snapshots without a pause, as with the default durability, or none. It
//! writes its log to stderr, and before it the number of records that it has read besides the snapshot.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::try_join;
use headwater::{BoundAddress, Tls};
use headwater_bench::{Error, tls::Certificate};
use headwater_client::Egress;
use headwater_hub::{Hub, Options};
use headwater_log::{DiskLog, DiskOptions, Log, MemoryLog, MemoryOptions};
use headwater_nats::{Durability, NatsLog, NatsOptions};

pub(crate) fn run(
    folder: &Path,
    listen: &str,
    tls: Option<(&str, &str)>,
    upstreams: &[String],
    snapshots: Option<bool>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let log: Arc<dyn Log> = match folder.to_str() {
            Some("memory") => Arc::new(MemoryLog::new(MemoryOptions::default())),
            Some(urls) if urls.starts_with("nats://") => {
                let mut options = NatsOptions::new(urls.split(','));
                // The benchmark has started the servers, and knows that they sync.
                options.durability = Durability::Replicated;
                match snapshots {
                    Some(true) => options.snapshots.pause = Some(Duration::ZERO),
                    Some(false) => {
                        options.snapshots.records = u64::MAX;
                        options.snapshots.bytes = u64::MAX;
                    }
                    None => {}
                }
                let log = NatsLog::open(options).await?;
                if snapshots.is_some() {
                    eprintln!("records={}", log.delivered());
                }
                Arc::new(log)
            }
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
        let plain = headwater::serve(hub.app(), listen).on_bound(listening);
        let plain = match snapshots {
            Some(_) => plain,
            None => plain.quiet(),
        };
        let Some((tls_listen, certificate)) = tls else {
            return Ok(plain.await?);
        };
        let certificate = Path::new(certificate);
        let files = (
            Certificate::file(certificate),
            Certificate::key_file(certificate),
        );
        let encrypted = headwater::serve(hub.app(), tls_listen)
            .tls(Tls::from_pem_files(files.0, files.1)?)
            .quiet();
        try_join(plain.into_future(), encrypted.into_future()).await?;
        Ok(())
    })
}
