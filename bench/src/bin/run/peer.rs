//! The measured servers, each in its own process.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use headwater_bench::Error;

use crate::{options::folder, python};

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Headwater,
    Axum,
    FastApi,
    Bare,
    BareReady,
    /// A documented operation under `headwater::serve`.
    Operation,
    /// axum's own route under `headwater::serve`.
    OperationPlain,
    /// A slow endpoint.
    Slow,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Headwater => "Headwater",
            Self::Axum => "axum",
            Self::FastApi => "FastAPI + uvicorn",
            Self::Bare => "bare socket, items serialised",
            Self::BareReady => "bare socket, same bytes ready",
            Self::Operation => "Headwater, operation",
            Self::OperationPlain => "axum under `headwater::serve`",
            Self::Slow => "an endpoint that takes its time",
        }
    }

    /// Starts the server and waits until it listens.
    ///
    /// `rate` is the number of items per second that its `/paced` sends.
    pub(crate) fn start(self, rate: u32) -> Result<Server, Error> {
        let kind = match self {
            Self::FastApi => {
                let mut command = python::command();
                command.arg(folder().join("peers/fastapi_server.py"));
                return Server::start(command, rate);
            }
            Self::Headwater => "headwater",
            Self::Axum => "axum",
            Self::Bare => "bare",
            Self::BareReady => "bare-ready",
            Self::Operation => "operation",
            Self::OperationPlain => "operation-plain",
            Self::Slow => "slow",
        };
        let mut command = sibling("server")?;
        command.arg(kind);
        Server::start(command, rate)
    }
}

/// Starts a server that sends a file by `sendfile`.
pub(crate) fn sendfile(file: &Path) -> Result<Server, Error> {
    let mut command = sibling("server")?;
    command.arg("sendfile").arg("--data").arg(file);
    Server::start(command, 0)
}

/// Returns the command for another program of this package, in the same folder as this one.
pub(crate) fn sibling(name: &str) -> Result<Command, Error> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        return Err(format!("{} is not built", path.display()).into());
    }
    Ok(Command::new(path))
}

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command, rate: u32) -> Result<Self, Error> {
        let mut child = command
            .args(["--rate", &rate.to_string()])
            // The server ends when this pipe closes, even if the benchmark crashes.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let address = line
            .trim()
            .rsplit(' ')
            .next()
            .and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Self { child, address }),
            None => {
                stop(&mut child);
                Err(format!("the server {command:?} said {line:?}").into())
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
