//! Three NATS servers that sync what they acknowledge, and plain publishes to them.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, Context, stream};
use headwater_bench::{Error, item::Item, system};
use tokio::{runtime::Runtime, time::sleep};

use super::{folder::Folder, server::free_port};
use crate::python;

/// Time limit for the servers to have a leader.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVERS: usize = 3;
/// The name and subject of the stream of plain publishes.
const PLAIN: &str = "plain";
/// The JetStream stream of the hubs.
const LOG: &str = "headwater";

/// Servers that run until this is dropped.
pub(super) struct Cluster {
    servers: Vec<Child>,
    urls: Vec<String>,
    runtime: Runtime,
    context: Context,
    folder: Folder,
}

impl Cluster {
    /// Starts the servers, and waits until they store messages.
    pub(super) fn start() -> Result<Self, Error> {
        let folder = Folder::new()?;
        let ports = |_| free_port();
        let clients = (0..SERVERS).map(ports).collect::<Result<Vec<_>, _>>()?;
        let routes = (0..SERVERS).map(ports).collect::<Result<Vec<_>, _>>()?;
        let at = |ports: &[u16]| -> Vec<String> {
            let url = |port: &u16| format!("nats://127.0.0.1:{port}");
            ports.iter().map(url).collect()
        };
        let (urls, others) = (at(&clients), at(&routes));
        let mut servers = Vec::new();
        for (index, (client, route)) in clients.iter().zip(&routes).enumerate() {
            let store = folder.path().join(format!("n{index}"));
            let config = store.with_extension("conf");
            let text = format!(
                "listen: 127.0.0.1:{client}\nserver_name: n{index}\n\
                 jetstream {{ store_dir: {store:?}, sync_interval: always }}\n\
                 cluster {{ name: bench, listen: 127.0.0.1:{route}, routes: {others:?} }}\n"
            );
            fs::write(&config, text)?;
            // It ends when this program ends for any reason.
            let server = Command::new("setpriv")
                .args(["--pdeathsig", "TERM"])
                .arg(python::nats_server())
                .arg("-c")
                .arg(config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            servers.push(server);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let context = runtime.block_on(create(&urls))?;
        Ok(Self {
            servers,
            urls,
            runtime,
            context,
            folder,
        })
    }

    /// Returns the URLs of the servers, as a hub takes them.
    pub(super) fn urls(&self) -> String {
        self.urls.join(",")
    }

    /// Publishes items, one message each, with `in_flight` unacknowledged ones at any time. Returns the number of
    /// messages acknowledged per second.
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn publish(&self, in_flight: u64, window: Duration) -> Result<f64, Error> {
        let done = Arc::new(AtomicU64::new(0));
        let end = Instant::now() + window;
        self.runtime.block_on(async {
            let mut tasks = Vec::new();
            for task in 0..in_flight {
                let (context, done) = (self.context.clone(), Arc::clone(&done));
                tasks.push(tokio::spawn(async move {
                    for turn in 0.. {
                        let item = Item::at(task + turn * in_flight);
                        let payload = serde_json::to_vec(&item)?;
                        context.publish(PLAIN, payload.into()).await?.await?;
                        if Instant::now() >= end {
                            break;
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), Error>(())
                }));
            }
            for task in tasks {
                task.await??;
            }
            Ok::<(), Error>(())
        })?;
        Ok(done.load(Ordering::Relaxed) as f64 / window.as_secs_f64())
    }

    /// Returns the resident memory of each server, in bytes.
    pub(super) fn memory_bytes(&self) -> Result<Vec<u64>, Error> {
        let servers = self.servers.iter();
        let bytes = servers.map(|server| system::resident_bytes(server.id()));
        Ok(bytes.collect::<Result<_, _>>()?)
    }

    /// Returns the disk space of all servers' files, in bytes.
    pub(super) fn disk_bytes(&self) -> Result<u64, Error> {
        self.folder.disk_bytes()
    }

    /// Kills the server that leads the hubs' log.
    pub(super) fn kill_leader(&mut self) -> Result<(), Error> {
        let info = self.runtime.block_on(async {
            let stream = self.context.get_stream(LOG).await?;
            Ok::<_, Error>(stream.cached_info().cluster.clone())
        })?;
        let leader = info.and_then(|cluster| cluster.leader).unwrap_or_default();
        let index: Option<usize> = leader.strip_prefix('n').and_then(|n| n.parse().ok());
        let server = index.and_then(|index| self.servers.get_mut(index));
        let server = server.ok_or("the hubs' log has no leader")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // It may have ended before.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Creates the stream of plain publishes, with the settings of the hubs' log.
async fn create(urls: &[String]) -> Result<Context, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let created = async {
            let context = jetstream::new(async_nats::connect(urls).await?);
            let config = stream::Config {
                name: PLAIN.to_owned(),
                subjects: vec![PLAIN.to_owned()],
                num_replicas: SERVERS,
                discard: stream::DiscardPolicy::New,
                duplicate_window: Duration::from_secs(1),
                allow_direct: true,
                ..stream::Config::default()
            };
            context.create_stream(config).await?;
            Ok::<_, Error>(context)
        };
        match created.await {
            Ok(context) => return Ok(context),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("the NATS servers have no leader: {error}").into());
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
