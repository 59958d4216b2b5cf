//! The stream servers, each a process with its own folder.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    http::{Connection, request},
    system,
};
use rustix::process::{Pid, Signal, kill_process};

use super::{folder::Folder, install};
use crate::{options::folder, peer::sibling};

/// Time limit for a server's start, and for its end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(300);

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Headwater,
    DurableStreams,
    Reference,
    Nchan,
}

/// The kinds with durable streams.
pub(crate) const DURABLE: [Kind; 3] = [Kind::Headwater, Kind::DurableStreams, Kind::Reference];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Headwater => "Headwater",
            Self::DurableStreams => "`durable-streams`",
            Self::Reference => "reference server (Node)",
            Self::Nchan => "nchan (in memory)",
        }
    }

    /// Returns `true` if it could be installed.
    pub(crate) fn is_there(self) -> bool {
        match self {
            Self::Headwater => true,
            Self::DurableStreams => install::durable_streams().exists(),
            Self::Reference => install::reference().exists(),
            Self::Nchan => install::nchan().exists(),
        }
    }

    /// Returns a failure, unless the peer isn't required by the bars. In that case, its figures are
    /// missing.
    pub(crate) fn excuse(self, what: &str, result: Result<(), Error>) -> Result<(), Error> {
        match (self, result) {
            (_, Ok(())) => Ok(()),
            (Self::Reference | Self::Nchan, Err(error)) => {
                eprintln!("{what}, {}: {error}", self.name());
                Ok(())
            }
            (_, Err(error)) => Err(format!("{what}, {}: {error}", self.name()).into()),
        }
    }

    /// Returns the target for publishing to a stream.
    pub(crate) fn target(self, stream: &str) -> String {
        match self {
            Self::Headwater => format!("/streams/{stream}"),
            Self::DurableStreams | Self::Reference => format!("/{stream}"),
            Self::Nchan => format!("/publish/{stream}"),
        }
    }

    /// Starts Headwater's hub with an upstream that it may call. Its log is in memory or in the
    /// folder.
    pub(crate) fn relay(
        self,
        data: &Folder,
        upstream: &str,
        in_memory: bool,
    ) -> Result<Server, Error> {
        let port = free_port()?;
        let mut command = self.command(data, port)?;
        command.args(["--upstream", upstream]);
        if in_memory {
            command.args(["--data", "memory"]);
        }
        self.launch(command, data, port, &self.target("nothing"), |_| true)
    }

    /// Starts Headwater's hub on a cluster of NATS servers. The folder has its output.
    pub(super) fn on_cluster(self, data: &Folder, urls: &str) -> Result<Server, Error> {
        let port = free_port()?;
        let mut command = self.command(data, port)?;
        command.args(["--data", urls]);
        self.launch(command, data, port, &self.target("nothing"), |_| true)
    }

    /// Starts Headwater's hub on a cluster of NATS servers, and waits until it is ready. It stores snapshots or none. Its
    /// log is next to the folder.
    pub(super) fn ready_on_cluster(
        self,
        data: &Folder,
        urls: &str,
        snapshots: bool,
    ) -> Result<Server, Error> {
        let port = free_port()?;
        let mut command = self.command(data, port)?;
        command.args(["--data", urls, "--snapshots", &snapshots.to_string()]);
        command.env("HEADWATER_LOG", "headwater_nats=info");
        self.launch(command, data, port, "/readyz", |status| status == 200)
    }

    /// Starts Headwater's hub, which also listens with TLS. The certificate is in the folder. Returns the
    /// server and its address with TLS.
    pub(crate) fn with_tls(
        self,
        data: &Folder,
        certificate: &Path,
    ) -> Result<(Server, SocketAddr), Error> {
        let port = free_port()?;
        let tls = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = self.command(data, port)?;
        command.args(["--tls-listen", &tls.to_string()]);
        command.arg("--tls-folder").arg(certificate);
        let server = self.launch(command, data, port, &self.target("nothing"), |_| true)?;
        Ok((server, tls))
    }

    /// Starts the server with the data in the folder, and waits until it responds.
    pub(crate) fn start(self, data: &Folder) -> Result<Server, Error> {
        self.start_until(data, &self.target("nothing"), |_| true)
    }

    /// Starts the server and waits until it responds to a `GET` of `target` with a status that
    /// satisfies `ready`.
    pub(crate) fn start_until(
        self,
        data: &Folder,
        target: &str,
        ready: impl Fn(u16) -> bool,
    ) -> Result<Server, Error> {
        let port = free_port()?;
        let command = self.command(data, port)?;
        self.launch(command, data, port, target, ready)
    }

    fn launch(
        self,
        mut command: Command,
        data: &Folder,
        port: u16,
        target: &str,
        ready: impl Fn(u16) -> bool,
    ) -> Result<Server, Error> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(data.path().with_extension("log"))?)
            .spawn()?;
        let mut server = Server {
            child,
            kind: self,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        };
        let ask = request("GET", target, "", b"");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = Connection::open(server.address)
                .and_then(|mut connection| Ok(connection.ask(&ask, |_| ())?.status()));
            if status.is_ok_and(&ready) {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                let said =
                    fs::read_to_string(data.path().with_extension("log")).unwrap_or_default();
                return Err(format!("{} ended with {status}: {said}", self.name()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("{} doesn't start", self.name()).into());
            }
            sleep(Duration::from_millis(1));
        }
    }

    fn command(self, data: &Folder, port: u16) -> Result<Command, Error> {
        let port = port.to_string();
        // It ends when this program ends for any reason.
        let with_us = |program: &Path| {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM"]).arg(program);
            command
        };
        Ok(match self {
            Self::Headwater => {
                let mut command = sibling("server")?;
                command.arg("hub").arg("--data").arg(data.path());
                command.args(["--listen", &format!("127.0.0.1:{port}")]);
                command
            }
            Self::DurableStreams => {
                let mut command = with_us(&install::durable_streams());
                command
                    .args(["--port", &port])
                    .arg("--data-dir")
                    .arg(data.path());
                command
            }
            Self::Reference => {
                let mut command = with_us("node".as_ref());
                command.arg(folder().join("peers/durable_streams.mjs"));
                command.arg(install::reference()).arg(port).arg(data.path());
                command
            }
            Self::Nchan => {
                let path = data.path().join("nginx.conf");
                fs::write(&path, nginx(data.path(), &port))?;
                let mut command = with_us("nginx".as_ref());
                command.arg("-p").arg(data.path()).arg("-c").arg(path);
                command
            }
        })
    }
}

/// Returns the configuration of nginx as Debian ships it, with nchan's defaults. Only the message
/// limits are raised, so that no message is lost.
fn nginx(data: &Path, port: &str) -> String {
    format!(
        "load_module {module};\n\
         daemon off; worker_processes auto; user root;\n\
         pid {data}/pid; error_log {data}/error.log;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n\
           access_log off;\n\
           client_body_temp_path {data}/t1; proxy_temp_path {data}/t2; fastcgi_temp_path {data}/t3;\n\
           uwsgi_temp_path {data}/t4; scgi_temp_path {data}/t5;\n\
           nchan_shared_memory_size 1024M;\n\
           server {{\n\
             listen 127.0.0.1:{port};\n\
             keepalive_requests 1000000000;\n\
             location ~ ^/publish/(.+)$ {{\n\
               nchan_publisher; nchan_channel_id $1;\n\
               nchan_message_buffer_length 1000000; nchan_message_timeout 10m;\n\
             }}\n\
             location ~ ^/follow/(.+)$ {{\n\
               nchan_subscriber eventsource; nchan_channel_id $1;\n\
               nchan_subscriber_first_message newest; nchan_eventsource_ping_interval 15;\n\
             }}\n\
           }}\n\
         }}\n",
        module = install::nchan().display(),
        data = data.display(),
    )
}

pub(super) fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    kind: Kind,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates a stream of JSON messages.
    pub(crate) fn create(&self, connection: &mut Connection, stream: &str) -> Result<(), Error> {
        // nchan creates a channel on first use.
        if self.kind != Kind::Nchan {
            let target = self.kind.target(stream);
            connection.must(&request("PUT", &target, "application/json", b""))?;
        }
        Ok(())
    }

    /// Returns the CPU time of the server and its child processes, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64, Error> {
        let mut sum = 0;
        for pid in system::tree(self.child.id())? {
            sum += system::cpu_ns(pid)?;
        }
        Ok(sum)
    }

    /// Returns the memory of the server and its child processes, in bytes. Shared memory counts
    /// once.
    pub(crate) fn memory_bytes(&self) -> Result<u64, Error> {
        let mut sum = 0;
        for pid in system::tree(self.child.id())? {
            sum += system::proportional_bytes(pid)?;
        }
        Ok(sum)
    }

    /// Returns the greatest resident memory that the server has had, in bytes.
    pub(crate) fn peak_bytes(&self) -> Result<u64, Error> {
        Ok(system::peak_bytes(self.child.id())?)
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) -> Result<(), Error> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("the server has no process")?;
        Ok(kill_process(pid, Signal::HUP)?)
    }

    /// Sends SIGTERM and waits until the server has ended.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        if self.terminate() {
            Ok(())
        } else {
            Err(format!("{} doesn't end at SIGTERM", self.kind.name()).into())
        }
    }

    /// Kills the server, like a crash.
    pub(crate) fn kill(mut self) -> Result<(), Error> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn terminate(&mut self) -> bool {
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            sleep(Duration::from_millis(2));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && !self.terminate() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
