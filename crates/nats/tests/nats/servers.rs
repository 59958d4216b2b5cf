//! Servers for the tests.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

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
        // Not by `eprintln!`: its output isn't shown for tests that pass.
        REPORTED.call_once(|| {
            let _ = writeln!(
                std::io::stderr(),
                "the tests that need a NATS server are skipped: there is no nats-server in .venv/bin or PATH, \
                 and HEADWATER_NATS_SERVER doesn't name one"
            );
        });
    }
    found
}

/// One server, killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Server {
    fn start(&mut self) {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
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
    _ports: [Vec<OwnedFd>; 2],
    _folder: tempfile::TempDir,
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
        Self::start(count, jetstream, accounts, |_| None)
    }

    /// Starts a cluster of three that syncs everything, with a network that can be cut.
    pub(crate) fn networked() -> Option<Self> {
        let network = |routes: &[u16]| Some(Network::between(routes));
        Self::start(3, "sync_interval: always", Self::ACCOUNTS, network)
    }

    fn start(
        count: usize,
        jetstream: &str,
        accounts: &str,
        network: impl Fn(&[u16]) -> Option<Network>,
    ) -> Option<Self> {
        let program = program()?;
        let folder = crate::base::quick_folder();
        let (clients, client_ports) = hold(count);
        let (routes, route_ports) = hold(count);
        let network = network(&routes);
        let mut all = Vec::new();
        for index in 0..count {
            let store = folder.path().join(index.to_string());
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
                child: None,
            };
            server.start();
            all.push(server);
        }
        Some(Self {
            all,
            network,
            _ports: [client_ports, route_ports],
            _folder: folder,
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
        self.all[index].start();
    }

    /// Requests that another server leads the JetStream stream.
    pub(crate) async fn step_down(&self, prefix: &str) {
        self.request_step_down(prefix, "".into()).await;
    }

    /// Requests that a server leads the JetStream stream, until it does.
    pub(crate) async fn lead(&self, prefix: &str, server: usize) {
        let start = Instant::now();
        while self.leader(prefix).await != server {
            let wanted = format!("{{\"placement\":{{\"preferred\":\"n{server}\"}}}}");
            self.request_step_down(prefix, wanted.into()).await;
            assert!(start.elapsed() < START, "n{server} doesn't lead");
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
        let start = Instant::now();
        loop {
            if let Ok(client) = async_nats::connect(self.urls()).await {
                let context = async_nats::jetstream::new(client);
                let stream = context.get_stream(prefix).await;
                let cluster = stream
                    .ok()
                    .and_then(|stream| stream.cached_info().cluster.clone());
                let leader = cluster.and_then(|cluster| cluster.leader);
                if let Some(index) = leader.and_then(|name| name[1..].parse().ok()) {
                    return index;
                }
            }
            assert!(start.elapsed() < START, "no leader");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
