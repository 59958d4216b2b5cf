//! Servers for the tests.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::ClusterInfo;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::disks::{SmallDisk, Syncs};
use crate::network::{self, Link, Network};

/// The time that a server has to start.
const START: Duration = Duration::from_secs(60);

/// Returns the program, or `None` after printing that there is none.
pub(crate) fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("HEADWATER_NATS_SERVER").map(PathBuf::from) {
        assert!(named.is_file(), "HEADWATER_NATS_SERVER: no file {named:?}");
        return Some(named);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    let found = [workspace]
        .into_iter()
        .chain(in_path)
        .find(|file| file.is_file());
    if found.is_none() {
        static REPORTED: Once = Once::new();
        REPORTED.call_once(|| {
            report_skipped(
                "a NATS server",
                "there is no nats-server in .venv/bin or PATH, and HEADWATER_NATS_SERVER doesn't name one",
            );
        });
    }
    found
}

/// Prints that tests are skipped.
pub(crate) fn report_skipped(need: &str, reason: &str) {
    // Not by `eprintln!`: its output isn't shown for tests that pass.
    let _ = writeln!(
        io::stderr(),
        "the tests that need {need} are skipped: {reason}"
    );
}

/// One server, killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
    /// Its disk's syncs, if they can be delayed.
    syncs: Option<Syncs>,
    child: Option<Child>,
}

impl Server {
    fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(match &self.syncs {
            Some(syncs) => syncs.spawn(&mut command)?,
            None => command.spawn()?,
        });
        Ok(())
    }

    /// Sets the times that the syncs of [`slow`](Servers::slow) servers take in turn. Without any they take none.
    pub(crate) fn set_syncs(&self, times: &[Duration]) {
        self.syncs.as_ref().unwrap().set(times);
    }

    fn pid(&self) -> Option<Pid> {
        let child = self.child.as_ref()?;
        Pid::from_raw(i32::try_from(child.id()).ok()?)
    }

    /// Kills the server with -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid().unwrap(), signal).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Some servers with one store each.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) all: Vec<Server>,
    /// The network between them, if they have one that can be cut.
    network: Option<Network>,
    /// The file systems of their stores, if they have some of their own.
    pub(crate) disks: Vec<SmallDisk>,
    _ports: [Vec<OwnedFd>; 2],
    folder: tempfile::TempDir,
}

/// The parts of servers that few tests need.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    has_network: bool,
    has_syncs: bool,
    /// The size of the file system of each server.
    disk: Option<u64>,
}

/// Holds ports that the system chose, until the sockets are dropped.
///
/// The system gives a port that is held to no other program that lets it choose. A server can listen on it, as these sockets don't,
/// and both have `SO_REUSEADDR` (socket(7)).
fn hold(count: usize) -> (Vec<u16>, Vec<OwnedFd>) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let one = |_| {
        let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&held, true).unwrap();
        bind(&held, &any).unwrap();
        let address = SocketAddr::try_from(getsockname(&held).unwrap()).unwrap();
        (address.port(), held)
    };
    (0..count).map(one).unzip()
}

impl Servers {
    /// The configuration of accounts: one for everybody, and the system account.
    pub(crate) const ACCOUNTS: &str = "accounts { A { jetstream: enabled, users: [{user: a, password: a}] }, \
         $SYS { users: [{user: sys, password: sys}] } }\nno_auth_user: a\n";

    /// Starts one server, which syncs nothing.
    pub(crate) fn one() -> Option<Self> {
        Self::new(1, "")
    }

    /// Starts a cluster of three that syncs everything.
    pub(crate) fn three() -> Option<Self> {
        Self::new(3, "sync_interval: always")
    }

    pub(crate) fn new(count: usize, jetstream: &str) -> Option<Self> {
        Self::configured(count, jetstream, Self::ACCOUNTS)
    }

    /// Starts servers with other accounts than [`ACCOUNTS`](Self::ACCOUNTS).
    pub(crate) fn configured(count: usize, jetstream: &str, accounts: &str) -> Option<Self> {
        Self::start(count, jetstream, accounts, Parts::default())
    }

    /// Starts a cluster of three that syncs everything, with a network that can be cut.
    pub(crate) fn networked() -> Option<Self> {
        Self::three_with(Parts {
            has_network: true,
            ..Parts::default()
        })
    }

    /// Starts a cluster of three that syncs everything, whose [syncs](Server::set_syncs) can take time.
    pub(crate) fn slow() -> Option<Self> {
        Self::three_with(Parts {
            has_syncs: true,
            ..Parts::default()
        })
    }

    /// Starts a cluster of three that syncs everything, with a file system of this size each.
    pub(crate) fn small(disk: u64) -> Option<Self> {
        Self::three_with(Parts {
            disk: Some(disk),
            ..Parts::default()
        })
    }

    fn three_with(parts: Parts) -> Option<Self> {
        Self::start(3, "sync_interval: always", Self::ACCOUNTS, parts)
    }

    fn start(count: usize, jetstream: &str, accounts: &str, parts: Parts) -> Option<Self> {
        let program = program()?;
        let folder = crate::base::quick_folder();
        let (clients, client_ports) = hold(count);
        let (routes, route_ports) = hold(count);
        let network = parts.has_network.then(|| Network::between(&routes));
        let mut all = Vec::new();
        let mut disks = Vec::new();
        for index in 0..count {
            let store = folder.path().join(index.to_string());
            if let Some(bytes) = parts.disk {
                disks.push(SmallDisk::mount(&store, bytes)?);
            }
            let mut text = format!(
                "listen: 127.0.0.1:{}\nserver_name: n{index}\n\
                 jetstream {{ store_dir: {store:?}, max_mem: 64MB, max_file: 2GB, {jetstream} }}\n\
                 {accounts}",
                clients[index]
            );
            if count > 1 {
                // Servers tell each other the address that they advertise. Nothing listens on port 1, so
                // no connection bypasses the network.
                let (others, more) = match &network {
                    Some(network) => (
                        network.ports_of(index).collect(),
                        ", advertise: \"127.0.0.1:1\", no_advertise: true",
                    ),
                    None => (routes.clone(), ""),
                };
                let urls: Vec<_> = others
                    .iter()
                    .map(|port| format!("nats://127.0.0.1:{port}"))
                    .collect();
                text += &format!(
                    "cluster {{ name: c, listen: 127.0.0.1:{}, routes: {urls:?}{more} }}\n",
                    routes[index]
                );
            }
            let config = folder.path().join(format!("{index}.conf"));
            fs::write(&config, text).unwrap();
            let mut server = Server {
                program: program.clone(),
                arguments: vec!["-c".to_owned(), config.display().to_string()],
                port: clients[index],
                syncs: parts.has_syncs.then(Syncs::default),
                child: None,
            };
            match server.start() {
                Err(error) if parts.has_syncs => {
                    report_skipped("syncs", &format!("they can't be delayed here: {error}"));
                    return None;
                }
                started => started.unwrap(),
            }
            all.push(server);
        }
        Some(Self {
            all,
            network,
            disks,
            _ports: [client_ports, route_ports],
            folder,
        })
    }

    /// Returns a port that leads to a server, and its link.
    pub(crate) fn door(&self, server: usize) -> (u16, watch::Sender<Link>) {
        network::door(self.all[server].port)
    }

    /// Returns the network of [`networked`](Self::networked) servers.
    pub(crate) fn network(&self) -> &Network {
        self.network.as_ref().unwrap()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.all.iter().map(Server::url).collect()
    }

    pub(crate) fn restart(&mut self, index: usize) {
        self.all[index].kill();
        self.all[index].start().unwrap();
    }

    /// Replaces a text in the configuration of a server, which reads it when it starts or gets SIGHUP.
    pub(crate) fn reconfigure(&self, server: usize, from: &str, to: &str) {
        let file = self.folder.path().join(format!("{server}.conf"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// Requests that another server leads the JetStream stream.
    pub(crate) async fn step_down(&self, prefix: &str) {
        self.request_step_down(prefix, "".into()).await;
    }

    /// Requests that a server leads the JetStream stream, until it does. A server that isn't current can't lead, and each
    /// election interrupts its catching up.
    pub(crate) async fn lead(&self, prefix: &str, server: usize) {
        let start = Instant::now();
        let name = format!("n{server}");
        loop {
            let cluster = self.cluster(prefix).await;
            if cluster.leader.as_ref() == Some(&name) {
                return;
            }
            if cluster
                .replicas
                .iter()
                .any(|it| it.name == name && it.current)
            {
                let wanted = format!("{{\"placement\":{{\"preferred\":\"{name}\"}}}}");
                self.request_step_down(prefix, wanted.into()).await;
            }
            assert!(start.elapsed() < START, "{name} doesn't lead: {cluster:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn request_step_down(&self, prefix: &str, payload: bytes::Bytes) {
        let client = async_nats::connect(self.urls()).await.unwrap();
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{prefix}");
        // The leader may have moved meanwhile.
        let _ = client.request(subject, payload).await;
    }

    /// Returns the index of the server that leads the JetStream stream, once there is one.
    pub(crate) async fn leader(&self, prefix: &str) -> usize {
        let leader = self.cluster(prefix).await.leader.unwrap();
        leader[1..].parse().unwrap()
    }

    /// Returns the servers of the JetStream stream, as its leader sees them, once there is one.
    async fn cluster(&self, prefix: &str) -> ClusterInfo {
        let start = Instant::now();
        loop {
            if let Ok(client) = async_nats::connect(self.urls()).await {
                let context = async_nats::jetstream::new(client);
                let stream = context.get_stream(prefix).await;
                let cluster = stream
                    .ok()
                    .and_then(|stream| stream.cached_info().cluster.clone());
                if let Some(cluster) = cluster.filter(|cluster| cluster.leader.is_some()) {
                    return cluster;
                }
            }
            assert!(start.elapsed() < START, "no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
