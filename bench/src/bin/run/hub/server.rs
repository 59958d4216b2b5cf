//! The servers of streams, each a process of its own with a folder of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    http::{Connection, request},
    system,
};
use rustix::process::{Pid, Signal, kill_process};

use super::install;
use crate::{options::folder, peer::sibling};

/// How long a server may take to start, or to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(300);

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Headwater,
    DurableStreams,
    Reference,
    Nchan,
}

/// Those that keep what they are given.
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

    /// Whether it could be installed.
    pub(crate) fn is_there(self) -> bool {
        match self {
            Self::Headwater => true,
            Self::DurableStreams => install::durable_streams().exists(),
            Self::Reference => install::reference().exists(),
            Self::Nchan => install::nchan().exists(),
        }
    }

    /// Passes a failure on, unless the peer is one that the bars don't ask for: then its figures are missing.
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

    /// Where a stream is published to.
    pub(crate) fn target(self, stream: &str) -> String {
        match self {
            Self::Headwater => format!("/streams/{stream}"),
            Self::DurableStreams | Self::Reference => format!("/{stream}"),
            Self::Nchan => format!("/publish/{stream}"),
        }
    }

    /// Starts Headwater's hub with an upstream that it may call, its log in memory or in the folder.
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

    /// Starts it with what the folder holds, and waits until it answers.
    pub(crate) fn start(self, data: &Folder) -> Result<Server, Error> {
        self.start_until(data, &self.target("nothing"), |_| true)
    }

    /// Starts it and waits until it answers a `GET` of `target` with a status that is `ready`.
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
            .stderr(fs::File::create(data.0.with_extension("log"))?)
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
                let said = fs::read_to_string(data.0.with_extension("log")).unwrap_or_default();
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
        // It ends with this program, whatever becomes of it.
        let with_us = |program: &Path| {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM"]).arg(program);
            command
        };
        Ok(match self {
            Self::Headwater => {
                let mut command = sibling("server")?;
                command.arg("hub").arg("--data").arg(&data.0);
                command.args(["--listen", &format!("127.0.0.1:{port}")]);
                command
            }
            Self::DurableStreams => {
                let mut command = with_us(&install::durable_streams());
                command
                    .args(["--port", &port])
                    .arg("--data-dir")
                    .arg(&data.0);
                command
            }
            Self::Reference => {
                let mut command = with_us("node".as_ref());
                command.arg(folder().join("peers/durable_streams.mjs"));
                command.arg(install::reference()).arg(port).arg(&data.0);
                command
            }
            Self::Nchan => {
                let path = data.0.join("nginx.conf");
                fs::write(&path, nginx(&data.0, &port))?;
                let mut command = with_us("nginx".as_ref());
                command.arg("-p").arg(&data.0).arg("-c").arg(path);
                command
            }
        })
    }
}

/// nginx as Debian sets it up, with nchan's defaults; only what it keeps is raised, so that nothing is lost.
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

fn free_port() -> Result<u16, Error> {
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
        // nchan has a channel when somebody uses it.
        if self.kind != Kind::Nchan {
            let target = self.kind.target(stream);
            connection.must(&request("PUT", &target, "application/json", b""))?;
        }
        Ok(())
    }

    /// The CPU time of it and of the processes that it started, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64, Error> {
        let mut sum = 0;
        for pid in system::tree(self.child.id())? {
            sum += system::cpu_ns(pid)?;
        }
        Ok(sum)
    }

    /// Its memory and that of the processes that it started, in bytes. What they share counts once.
    pub(crate) fn memory_bytes(&self) -> Result<u64, Error> {
        let mut sum = 0;
        for pid in system::tree(self.child.id())? {
            sum += system::proportional_bytes(pid)?;
        }
        Ok(sum)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        if self.terminate() {
            Ok(())
        } else {
            Err(format!("{} doesn't end at SIGTERM", self.kind.name()).into())
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> Result<(), Error> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn terminate(&mut self) -> bool {
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may have ended by itself: then there is nothing to do.
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

/// A folder for one server's data, on the disk that the benchmark is on. It goes when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder()
            .join(".data")
            .join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// How many bytes of the disk its files take.
    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        fn sum(path: &Path) -> std::io::Result<u64> {
            let mut bytes = 0;
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let about = entry.metadata()?;
                // In units of 512 bytes, whatever the file system's are: stat(2).
                bytes += about.blocks() * 512;
                if about.is_dir() {
                    bytes += sum(&entry.path())?;
                }
            }
            Ok(bytes)
        }
        Ok(sum(&self.0)?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is left to whoever looks: the measurement is done.
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(self.0.with_extension("log"));
    }
}
